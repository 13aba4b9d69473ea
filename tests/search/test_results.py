import math

import pandas as pd
import pyarrow.parquet as pq
import pytest

from liser_ray.search.results import RunScore, SettingResult, from_json, ranked, score_text, to_json, to_table
from liser_ray.search.space import parse_space


def result(lambda_sd, scores, status="done", problem=""):
    """Scores by fold, of two seeds each."""
    runs = [
        RunScore(fold, seed, value, best_epoch=2, epochs=3)
        for fold, values in enumerate(scores)
        for seed, value in enumerate(values)
    ]
    return SettingResult({"loss.lambda_sd": lambda_sd}, status, problem, tuple(runs), seconds=1.5)


GOOD = result(1.0, [(0.5, 0.7), (0.4, 0.4)])
FAILED = result(10.0, [(0.9, None), (None, None)], "failed", "fold 0, seed 1: the loss is not finite")
BEGUN = result(5.0, [(None, None), (None, None)], "stopped")
STOPPED = result(0.1, [(0.9, 0.9), (0.9, 0.9)], "stopped")


def test_the_objective_is_the_mean_over_folds_and_the_spread_is_theirs():
    assert GOOD.by_fold == pytest.approx({0: 0.6, 1: 0.4})
    assert GOOD.validation_uar == pytest.approx(0.5)
    assert GOOD.spread == pytest.approx(0.2 / math.sqrt(2))
    assert score_text(GOOD) == ".500 ± .141"
    assert math.isnan(FAILED.validation_uar)
    assert math.isnan(BEGUN.validation_uar)
    assert score_text(result(1.0, [(0.5, 0.7)])) == ".600"


def test_what_was_not_trained_to_the_end_is_never_the_best():
    better = result(2.0, [(0.6, 0.7), (0.4, 0.4)])
    assert ranked([FAILED, BEGUN, STOPPED, GOOD, better]) == [better, GOOD, STOPPED, BEGUN, FAILED]


def test_results_travel_as_text():
    assert [from_json(to_json(one)) for one in (GOOD, FAILED)] == [GOOD, FAILED]


def test_the_table_can_be_read_by_others(tmp_path):
    axes = parse_space(["loss.lambda_sd=0.1,1,5,10"])
    pq.write_table(to_table(axes, [GOOD, FAILED, BEGUN]), tmp_path / "trials.parquet")
    table = pd.read_parquet(tmp_path / "trials.parquet")
    assert list(table["trial"]) == [1, 2, 3]
    assert list(table["loss.lambda_sd"]) == [1, 10, 5]
    assert list(table["status"]) == ["done", "failed", "stopped"]
    assert table["validation_uar"].isna().tolist() == [False, True, True]
    assert table["problem"][1].endswith("not finite")
    assert table["runs"][0][1] == {"fold": 0, "seed": 1, "validation_uar": 0.7, "best_epoch": 2, "epochs": 3}
