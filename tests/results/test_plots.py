import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
from small_records import random_record

from liser_ray.results.paper import with_share
from liser_ray.results.plots import confusion_plot, differences_plot, figure_2, speakers_plot
from liser_ray.results.style import BLUE, GREEN, GREY, ORANGE, VERMILION

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def pixels(png):
    """RGB [height, width, 3] of a PNG."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)


def has_colour(png, colour):
    return bool((pixels(png) == [int(colour[k : k + 2], 16) for k in (1, 3, 5)]).all(axis=2).any())


def seeds(recipe="no-dstl", **named):
    return [random_record(recipe=recipe, seed=seed, **named) for seed in range(2)]


def test_figure_2_has_a_line_of_its_own_colour_for_each_recipe():
    recipes = [with_share(recipe, percent) for recipe in ("no-dstl", "vid-sp-dstl") for percent in (25, 50, 100)]
    png = figure_2([record for recipe in recipes for record in seeds(recipe)])
    assert [has_colour(png, colour) for colour in (BLUE, VERMILION, GREEN)] == [True, True, False]
    assert not has_colour(figure_2(seeds()), VERMILION)


def test_figure_2_marks_students_whose_teachers_heard_more_labels():
    def taught(fraction, labeled="ravdess"):
        target = {"tuned_on": {"labeled": labeled, "fold": 0, "heard": ["1"], "labeled_fraction": fraction}}
        teachers = {"0": {"speech": target, "face": {"tuned_on": None}}}
        recipe = {"data": {"teachers": teachers}, "train": {"labeled_fraction": 0.5}}
        return [replace(one, content={"recipe": recipe}) for one in seeds("sp-dstl+50%-labels")]

    fair = figure_2(seeds() + taught(0.5))
    assert fair == figure_2(seeds() + taught(0.25)) == figure_2(seeds() + taught(1.0, "cremad"))
    assert fair != figure_2(seeds() + taught(1.0))


def test_equal_records_give_equal_bytes():
    assert figure_2(seeds()) == figure_2(seeds())


def test_pictures_grow_with_their_labels_and_recipes():
    few, many = (pixels(confusion_plot(seeds(labels=labels))).shape for labels in (("a", "b"), EMOTIONS))
    assert few[0] < many[0]
    assert few[1] < many[1]
    recipes = ("no-dstl", "sp-dstl", "vid-dstl")
    two, three = (pixels(differences_plot({name: seeds(name) for name in recipes[:n]})).shape for n in (2, 3))
    assert two[0] < three[0]


def test_speakers_have_their_sexes_colours():
    known = speakers_plot(seeds())
    assert has_colour(known, ORANGE)
    assert has_colour(known, BLUE)
    unknown = speakers_plot([replace(random_record(n_speakers=91), sexes={})])
    assert has_colour(unknown, GREY)
    assert not has_colour(unknown, ORANGE)


def test_plots_leave_pyplot_alone_and_tables_need_no_matplotlib():
    script = (
        "import sys, liser_ray.results.tables, liser_ray.results.records\n"
        "assert not {'matplotlib', 'torch', 'ray'} & sys.modules.keys()\n"
        "import liser_ray.results.plots\n"
        "assert not {'matplotlib.pyplot', 'torch', 'ray'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
