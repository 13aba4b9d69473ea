"""Trials without Ray: what they train, keep, and tell."""

import json
from dataclasses import replace

import pytest
from small_search import by_hand, make_trial, reports, without_time

from liser_ray.search.trial import OBJECTIVE, TrialPlan
from liser_ray.student.config import LossConfig
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.job import train_students

GOOD = {"loss.lambdas.speech": 5.0, "loss.lambdas.face": 0.5}


@pytest.fixture
def plan(config, tmp_path):
    return TrialPlan(config, ((0, 0), (1, 0)), str(tmp_path))


def test_a_trial_is_the_training_that_stands_alone(config, inputs, plan, tmp_path):
    loss = LossConfig({"speech": 5.0, "face": 0.5})
    train_students(StudentConfig(config.labeled, config.unlabeled, str(tmp_path), loss=loss, train=config.train))
    told = reports(make_trial(plan, GOOD, inputs))
    for run in told[-1]["runs"]:
        card = json.loads((tmp_path / f"seed-{run['seed']}-fold-{run['fold']}/student.json").read_text())
        assert (run["best_epoch"], run["validation_uar"]) == (card["best_epoch"], card["validation_uar"])
        assert run["validation_loss"] == card["history"][run["best_epoch"] - 1]["validation_loss"]
    # The score is that of the best epoch so far, over all folds.
    assert [[run["epochs"] for run in report["runs"]] for report in told] == [[1, 1], [2, 2]]
    assert [report["ended"] for report in told] == [False, True]
    mean = sum(run["validation_uar"] for run in told[1]["runs"]) / 2
    assert told[0][OBJECTIVE] <= told[1][OBJECTIVE] == pytest.approx(mean)


def test_a_trial_that_was_cut_off_goes_on_from_its_checkpoint(plan, inputs):
    cut_off = make_trial(replace(plan, config=replace(plan.config, checkpoint_every_s=0.0)), GOOD, inputs)
    first = cut_off.report()  # and is lost
    again = reports(make_trial(plan, GOOD, inputs))
    assert again[0] == first  # with the seconds that it took then: it is not trained again
    expected = by_hand(replace(plan, folder="/none"), GOOD, inputs)
    assert without_time(again[-1]["runs"]) == expected


def test_a_target_may_be_left_out(plan, inputs):
    without, with_it = (by_hand(plan, GOOD | {"loss.lambdas.face": value}, inputs) for value in (0.0, 5.0))
    assert without != with_it


def test_a_setting_that_diverges_is_told(plan, inputs):
    (told,) = reports(make_trial(plan, {"train.learning_rate": 1e30}, inputs))
    assert "fold 0, seed 0: The loss is not finite in epoch 1" in told["problem"]
    assert told[OBJECTIVE] == 0.0
    assert told["ended"]


@pytest.mark.parametrize(
    ("setting", "epochs"),
    [
        ({"train.validate_every": 2, "train.epochs": 3}, [2, 3]),
        ({"train.two_stage": True, "train.epochs": 2}, [1, 2]),  # of labels: the first stage has no score
    ],
)
def test_only_epochs_with_a_score_are_told(plan, inputs, setting, epochs):
    """Schedulers of Tune take NaN for a score: the median rule then stops nothing, or all."""
    assert [report["epoch"] for report in reports(make_trial(plan, setting, inputs))] == epochs
