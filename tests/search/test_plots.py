import io

import numpy as np
from matplotlib.image import imread
from small_search import run_score

from liser_ray.search.plots import heat_map, slices_plot
from liser_ray.search.results import SettingResult
from liser_ray.search.space import combinations, parse_space

TAUGHT = ("speech", "face")


def results_of(space, statuses=(), n_folds=5):
    results = []
    for number, setting in enumerate(combinations(space)):
        runs = [run_score(fold, 0, 0.3 + 0.01 * number + 0.02 * fold) for fold in range(n_folds)]
        status = statuses[number] if number < len(statuses) else "done"
        results.append(SettingResult(setting, status, "why" if status == "failed" else "", runs))
    return results


def is_picture(png):
    pixels = imread(io.BytesIO(png))
    return pixels.shape[0] > 200 and np.ptp(pixels[..., :3]) > 0.5


def test_a_heat_map_of_the_papers_grid():
    space = parse_space(["loss.lambdas.speech=0.1,0.5,1,5,10", "loss.lambdas.face=0.1,0.5,1,5,10"], TAUGHT)
    results = results_of(space, ["failed", "stopped"])
    png = heat_map(space, results)
    assert is_picture(png)
    assert png == heat_map(space, results)
    assert png != heat_map(space, results[:-1])  # one that is missing
    assert is_picture(heat_map(space, results_of(space, n_folds=1)))


def test_slices_of_numbers_names_and_ranges():
    space = parse_space(
        ["loss.lambdas.speech=0.1,1,10", "network.pooling=last,mean", "train.two_stage=true,false"], TAUGHT
    )
    assert is_picture(slices_plot(space, results_of(space, ["stopped", "failed"])))
    assert is_picture(slices_plot(space, results_of(space, n_folds=1)))
    ranges = parse_space(["train.learning_rate=1e-4..1e-2", "network.dropout=0..0.5"])
    assert is_picture(slices_plot(ranges, results_of(ranges)))
