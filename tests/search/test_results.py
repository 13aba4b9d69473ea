import math

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_search import run_score

from liser_ray.search.results import SettingResult, ranked, read_results, to_table, uar_text, write_result
from liser_ray.search.space import setting_key


def result(lambda_speech, scores, status="done", problem=""):
    """Scores by fold, of two seeds each."""
    runs = [
        run_score(fold, seed, value, seconds=0.25)
        for fold, values in enumerate(scores)
        for seed, value in enumerate(values)
    ]
    return SettingResult({"loss.lambdas.speech": lambda_speech}, status, problem, runs, [[2, 0.4], [3, 0.5]])


GOOD = result(1.0, [(0.5, 0.7), (0.4, 0.4)])
FAILED = result(10.0, [(0.9,)], "failed", "fold 0, seed 1: the loss is not finite")
BEGUN = result(5.0, [], "failed", "its process was lost")
STOPPED = result(0.1, [(0.9, 0.9), (0.9, 0.9)], "stopped")


def test_the_objective_is_the_mean_over_folds_and_the_spread_is_theirs():
    assert GOOD.by_fold == pytest.approx({0: 0.6, 1: 0.4})
    assert GOOD.validation_uar == pytest.approx(0.5)
    assert GOOD.spread == pytest.approx(0.2 / math.sqrt(2))
    assert uar_text(GOOD) == ".500 ± .141"
    assert math.isnan(FAILED.validation_uar)
    assert math.isnan(BEGUN.validation_uar)
    assert uar_text(result(1.0, [(0.5, 0.7)])) == ".600"


def test_what_was_not_trained_to_the_end_is_never_the_best():
    better = result(2.0, [(0.6, 0.7), (0.4, 0.4)])
    assert ranked([FAILED, BEGUN, STOPPED, GOOD, better]) == [better, GOOD, STOPPED, FAILED, BEGUN]


def test_results_are_kept(tmp_path):
    for one in (GOOD, FAILED):
        write_result(str(tmp_path), one)
    assert read_results(str(tmp_path)) == {setting_key(one.setting): one for one in (GOOD, FAILED)}


def test_the_table_can_be_read_by_others(tmp_path):
    pq.write_table(to_table([GOOD, FAILED, BEGUN]), tmp_path / "trials.parquet")
    table = pd.read_parquet(tmp_path / "trials.parquet")
    assert list(table["trial"]) == [1, 2, 3]
    assert list(table["loss.lambdas.speech"]) == [1, 10, 5]
    assert list(table["status"]) == ["done", "failed", "failed"]
    assert table["validation_uar"].isna().tolist() == [False, True, True]
    assert table["seconds"].tolist() == [1.0, 0.25, 0.0]
    assert table["problem"][1].endswith("not finite")
    assert table["runs"][0][1].items() >= {"fold": 0, "seed": 1, "validation_uar": 0.7, "best_epoch": 2}.items()
