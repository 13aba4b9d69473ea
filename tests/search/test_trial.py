"""Trials without Ray: what they train, keep, and tell."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_search import finish, make_place, make_trial, without_time

from liser_ray.search import trial as trial_module
from liser_ray.search.trial import (
    Run,
    TrialPlan,
    read_kept,
    read_progress,
    result_of,
    write_told,
)
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import check, make_inputs, train_students

TRAIN = TrainConfig(epochs=3, batch_size=10, learning_rate=2e-3)
RUNS = (Run(0, 0), Run(1, 0))
GOOD = {"loss.lambda_sd": 5.0, "loss.lambda_vd": 0.5}
OTHER = {"loss.lambda_sd": 0.1, "loss.lambda_vd": 1.0}
DIVERGES = {"train.learning_rate": 1e30}


@pytest.fixture(scope="module")
def student(tones, tone_labels):
    return StudentConfig(tones, tone_labels, train=TRAIN)


@pytest.fixture(scope="module")
def inputs(student):
    return make_inputs(student, check(student))


@pytest.fixture
def place(inputs):
    return make_place(inputs)


@pytest.fixture
def plan(student, tmp_path):
    return TrialPlan(student, RUNS, together=False, output=str(tmp_path))


@pytest.mark.parametrize("together", [False])
def test_a_trial_is_the_training_that_stands_alone(student, plan, place, tmp_path, together):
    loss = replace(student.loss, lambda_sd=GOOD["loss.lambda_sd"], lambda_vd=GOOD["loss.lambda_vd"])
    records = train_students(replace(student, loss=loss, output=str(tmp_path / "alone"), seeds="0,1")).records
    plan = replace(plan, runs=tuple(Run(fold, seed) for fold in (0, 1) for seed in (0, 1)), together=together)
    result = finish(make_trial(plan, place, GOOD))[-1][0]
    assert result.status == "done"
    alone = {(fold.fold, record.seed): fold for record in records for fold in record.folds}
    for run in result.runs:
        assert run.validation_uar == alone[run.fold, run.seed].validation_uar
        assert run.best_epoch == alone[run.fold, run.seed].best_epoch
    card = json.loads((tmp_path / "alone/seed-1-fold-0/student.json").read_text())
    losses = [score.loss for score in read_progress(plan.output, GOOD).histories[Run(0, 1)]]
    tolerance = {"rel": 1e-3} if together else {"rel": 1e-12}
    assert losses == [pytest.approx(score["loss"], **tolerance) for score in card["history"]]


def test_the_score_is_that_of_the_best_epoch_so_far_over_all_folds(plan, place):
    told = finish(make_trial(plan, place, GOOD))
    assert [[run.epochs for run in results[0].runs] for results in told] == [[1, 1], [2, 2], [3, 3]]
    scores = [results[0].validation_uar for results in told]
    assert scores == sorted(scores)
    histories = read_progress(plan.output, GOOD).histories
    best = [max(score.validation_uar for score in history) for history in histories.values()]
    assert scores[-1] == pytest.approx(sum(best) / 2)


def test_what_is_finished_is_told_again_and_not_trained_again(plan, place, monkeypatch):
    told = finish(make_trial(plan, place, GOOD))
    monkeypatch.setattr(trial_module, "make_training", lambda *args: pytest.fail("it is trained again"))
    assert finish(make_trial(plan, place, GOOD)) == told
    (kept,) = read_kept(plan).values()
    assert kept.setting == GOOD
    assert kept.result(plan) == result_of(plan, GOOD, read_progress(plan.output, GOOD)) == told[-1][0]


@pytest.mark.parametrize("together", [False])
def test_a_trial_that_was_cut_off_goes_on_from_its_checkpoint(plan, place, tmp_path, together):
    plan = replace(plan, config=replace(plan.config, checkpoint_every_s=0), together=together)
    whole = finish(make_trial(replace(plan, output=str(tmp_path / "whole")), place, GOOD, OTHER))
    make_trial(plan, place, GOOD, OTHER).next_epoch()  # and is lost
    (state,) = Path(plan.output, "trials").glob("*.pt")
    again = make_trial(plan, place, GOOD, OTHER)
    trained = []
    for crew in again._crews:
        crew.run_epoch = lambda after, run=crew.run_epoch: trained.append(1) or run(after)
    told = finish(again)
    assert len(trained) == 2 * len(again._crews)  # of three epochs
    assert list(map(without_time, told)) == list(map(without_time, whole))
    assert not state.exists()


def test_more_folds_later_train_only_those(plan, place):
    first = finish(make_trial(replace(plan, runs=RUNS[:1]), place, GOOD))[-1][0]
    trial = make_trial(plan, place, GOOD)
    assert [crew.members for crew in trial._crews] == [[(0, Run(1, 0))]]
    both = finish(trial)[-1][0]
    assert both.runs[0] == first.runs[0]
    assert both.status == "done"
    assert sorted(read_progress(plan.output, GOOD).histories) == list(RUNS)


@pytest.mark.parametrize("together", [False])
def test_a_setting_that_diverges_is_told_and_the_others_go_on(plan, place, together):
    plan = replace(plan, together=together)
    settings = [{**DIVERGES}, {"train.learning_rate": 2e-3}]
    diverged, fine = finish(make_trial(plan, place, *settings))[-1]
    assert diverged.status == "failed"
    assert "fold 0, seed 0: The loss is not finite in epoch 1" in diverged.problem
    assert fine.status == "done"
    assert finish(make_trial(plan, place, settings[0]))[-1][0].problem == diverged.problem


def test_what_a_scheduler_has_stopped_is_told_again_as_far_as_it_came(plan, place, monkeypatch):
    trial = make_trial(plan, place, GOOD)
    told = [trial.next_epoch()[0], trial.next_epoch()[0]]  # and is stopped
    write_told(plan, told)
    monkeypatch.setattr(trial_module, "make_training", lambda *args: pytest.fail("it is trained again"))
    assert finish(make_trial(plan, place, GOOD)) == [[one] for one in told]
    (kept,) = read_kept(plan).values()
    assert kept.setting == GOOD
    assert kept.result(plan) == told[-1]
    other = replace(plan, runs=RUNS[:1])  # on another choice of folds it may go on
    assert [one.result(other) for one in read_kept(other).values()] == [None]


def test_what_is_finished_stays_so_if_a_scheduler_stops_it_when_it_is_told_again(plan, place):
    told = [results[0] for results in finish(make_trial(plan, place, GOOD))]
    write_told(plan, [replace(told[0], status="stopped")])
    (kept,) = read_kept(plan).values()
    assert kept.result(plan) == told[-1]
    assert finish(make_trial(plan, place, GOOD))[-1] == [told[-1]]


def test_two_stages_have_no_score_before_the_second(plan, place):
    setting = {"train.two_stage": True, "train.epochs": 1}
    first, second = (results[0] for results in finish(make_trial(plan, place, setting)))
    assert first.by_fold == {}
    assert second.status == "done"
    assert set(second.by_fold) == {0, 1}
