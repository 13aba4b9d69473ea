"""The demo's students: one from labels alone, one that its teachers help, on the same speakers."""

import time
from pathlib import Path

from liser_ray.results.paper import RecipeName
from liser_ray.results.plots import differences_plot, speakers_plot
from liser_ray.results.records import Record
from liser_ray.results.scores import interval, paired_difference
from liser_ray.results.tables import interval_text
from liser_ray.runtime.display import clock
from liser_ray.storage.files import write_bytes
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import train_students

RECIPES: tuple[RecipeName, RecipeName] = ("no-dstl", "conf-vid-sp-dstl")

TRAIN = TrainConfig(epochs=20, learning_rate=1e-3)
"""A tenth of RAVDESS's recordings take fewer and larger steps."""


def compare_students(folder: Path) -> None:
    """Train both on the demo's labels, and print and plot their scores.

    Args:
        folder: of the demo, labeled.
    """
    records: dict[str, tuple[Record, ...]] = {}
    for recipe in RECIPES:
        started = time.monotonic()
        config = StudentConfig(
            labeled=str(folder / "corpus/audio/labels.csv"),
            unlabeled=str(folder),
            output=str(folder / "students" / recipe),
            recipe=recipe,
            train=TRAIN,
        )
        records[recipe] = train_students(config).records
        found = interval(records[recipe], "uar")
        print(f"      {recipe}: UAR {interval_text(found)}  {clock(time.monotonic() - started)}", flush=True)
    base, helped = (records[recipe] for recipe in RECIPES)
    difference = paired_difference(helped, base, "uar")
    n_speakers = len(base[0].confusions)
    print(f"      difference {interval_text(difference)} (paired, {n_speakers} speakers, 95 % interval)")
    for name, png in (("differences", differences_plot(records)), ("speakers", speakers_plot(helped))):
        write_bytes(str(folder / f"students/{name}.png"), png)
    print(f"Students: {folder}/students/*/seed-0-fold-* · pictures: {folder}/students/*.png")
