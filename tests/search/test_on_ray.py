"""Searches on Ray Tune: settings that fail, processes that are lost, more trials than CPUs."""

import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import ray
from ray.train import ScalingConfig
from ray.tune.experiment import Trial
from small_search import by_hand, without_time

from liser_ray.commands.settings import parse_settings
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.search.results import OBJECTIVE
from liser_ray.search.seeker import _unfinished
from liser_ray.search.space import parse_space, setting_key
from liser_ray.search.suggest import Suggestions
from liser_ray.search.trial import Run, TrialPlan, write_begun
from liser_ray.search.tuning import Resources, make_scheduler, tune_settings
from liser_ray.storage.files import list_files
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import check, make_inputs

TRAIN = TrainConfig(epochs=2, batch_size=10, learning_rate=2e-3)
ONE_CPU = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})


@pytest.fixture(scope="module")
def student(tones, tone_labels):
    return StudentConfig(tones, tone_labels, train=TRAIN)


@pytest.fixture(scope="module")
def inputs(student):
    return make_inputs(student, check(student))


def on_ray(plan, settings, inputs, at_once, on_workers=False, max_failures=0):
    """The results of settings, in their order, each tried once by a trial of its own."""
    found = []
    tune_settings(
        plan,
        [[setting] for setting in settings],
        ray.put(inputs),
        Resources(ONE_CPU, on_workers, at_once, max_failures),
        make_scheduler("none", 1),
        lambda name, steps, line: None,
        found.extend,
    )
    return sorted(found, key=lambda one: settings.index(one.setting))


@pytest.mark.slow
def test_a_search_from_settings_to_a_configuration(student, inputs, tmp_path, ray_session, capsys):
    config = SearchConfig(
        labeled=student.labeled,
        unlabeled=student.unlabeled,
        output=str(tmp_path / "out"),
        space=["loss.lambda_sd=0.1,5", "train.learning_rate=2e-3,1e30"],
        train=TRAIN,
    )
    result = search(config)
    assert result.trained == 4
    assert [one.status for one in result.results] == ["done", "failed"] * 2
    plan = TrialPlan(student, (Run(0, 0), Run(1, 0)), False, "")
    expected = by_hand(plan, [one.setting for one in result.results], inputs, tmp_path / "here")
    assert without_time(result.results) == without_time(expected)

    told = capsys.readouterr().out
    assert told.count("failed: fold 0, seed 0: The loss is not finite in epoch 1") == 2
    assert "4/4" in told
    table = pd.read_parquet(tmp_path / "out/trials.parquet")
    assert table["status"].tolist() == ["done", "failed"] * 2
    best = parse_settings(StudentConfig, "", ["--config", str(tmp_path / "out/best.yaml")])
    assert best.output == str(tmp_path / "out/student")
    assert best.loss.lambda_sd == result.best.setting["loss.lambda_sd"]
    assert (tmp_path / "out/heat_map.png").stat().st_size > 1000
    assert list((tmp_path / "out/tune").glob("*/events.out.tfevents*"))

    again = search(config)
    assert again.trained == 0
    assert again.results == result.results
    with pytest.raises(UserError, match="begun with other settings"):
        search(replace(config, seeds="1"))


@pytest.mark.slow
def test_a_population_is_suggested_and_all_lies_on_s3(student, ray_session, s3_store):
    config = SearchConfig(
        labeled=student.labeled,
        unlabeled=student.unlabeled,
        folds="0",
        train=TRAIN,
        space=["loss.lambda_sd=0.1..5"],
        method="tpe",
        samples=5,
        max_concurrent_trials=1,  # fewer processes to start
        output=f"s3://{s3_store.bucket()}/search",
    )
    begun = [{"loss.lambda_sd": 0.3}, {"loss.lambda_sd": 3.0}]  # by a search that was killed before they were done
    write_begun(TrialPlan(student, (), True, config.output), begun)
    results = search(config).results
    files = {Path(file.path).name for file in list_files(config.output)}
    assert {"trials.parquet", "best.yaml", "slices.png", "settings.yaml", "run.json"} <= files
    assert len(results) == 5
    assert [one.setting for one in results[:2]] == begun
    assert all(one.status == "done" and 0.1 <= one.setting["loss.lambda_sd"] <= 5 for one in results)


def test_what_was_suggested_and_not_finished_is_suggested_again():
    axes = parse_space(["loss.lambda_sd=0.1..5", "network.pooling=last,mean"])
    noted = []
    first = Suggestions(axes, 0, [], [], [2, 2, 1], noted.append)
    suggested = [first.suggest(str(trial))["settings"] for trial in range(3)]
    assert [len(trial) for trial in suggested] == [2, 2, 1]
    assert noted == suggested
    again = Suggestions(axes, 5, [], suggested, [2], noted.append)
    assert [again.suggest(str(trial))["settings"] for trial in range(3)] == suggested
    assert all(setting not in trial for setting in again.suggest("3")["settings"] for trial in suggested)


def test_what_was_begun_is_tried_once_and_in_trials_of_todays_size():
    a, b, c, d = ({"loss.lambda_sd": float(value)} for value in (1, 2, 3, 4))
    assert _unfinished([[a, b, c], [b], [d, a]], {setting_key(c)}, per_trial=2) == [[a, b], [d]]
    assert _unfinished([[a, b, c]], set(), per_trial=2) == [[a, b], [c]]


@pytest.mark.parametrize("kind", ["asha", "median"])
@pytest.mark.parametrize("grace_epochs", [5, 10])
def test_epochs_without_a_score_neither_stop_a_trial_nor_save_one(kind, grace_epochs):
    """Validated in each tenth epoch, as strong is."""
    scheduler = make_scheduler(kind, grace_epochs)
    scheduler.set_search_properties(OBJECTIVE, "max")
    controller = SimpleNamespace(get_live_trials=list)

    def last_epoch(score):
        trial = Trial("mock", stub=True)
        scheduler.on_trial_add(controller, trial)
        for epoch in range(1, 41):
            told = {"training_iteration": epoch, OBJECTIVE: score if epoch % 10 == 0 else math.nan}
            if scheduler.on_trial_result(controller, trial, told) == scheduler.STOP:
                return epoch
        scheduler.on_trial_complete(controller, trial, told)
        return epoch

    assert [last_epoch(score) for score in (0.5, 0.6, 0.7, 0.9, 0.1)] == [40, 40, 40, 40, 10]


LEARNS, LEARNS_NOTHING = (2e-3, 3e-3, 4e-3, 5e-3), (1e-9, 2e-9)
EPOCHS = dict.fromkeys(LEARNS, 4) | dict.fromkeys(LEARNS_NOTHING, 2)


@pytest.fixture
def rates(student, tmp_path):
    """A search for the learning rate, one trial after the other: each is compared with those before it."""
    values = map(str, (*LEARNS[:3], *LEARNS_NOTHING, *LEARNS[3:]))
    return SearchConfig(
        labeled=student.labeled,
        unlabeled=student.unlabeled,
        output=str(tmp_path / "out"),
        space=["train.learning_rate=" + ",".join(values)],
        grace_epochs=2,
        train=replace(TRAIN, epochs=4),
        max_concurrent_trials=1,
    )


def epochs_of(results):
    """How long each learning rate was trained."""
    return {one.setting["train.learning_rate"]: max(run.epochs for run in one.runs) for one in results}


@pytest.mark.slow
def test_asha_stops_what_learns_nothing_and_it_stays_stopped(rates, ray_session):
    config = replace(rates, scheduler="asha", folds="0")
    found = search(config)
    assert found.trained == 6
    assert epochs_of(found.results) == EPOCHS
    stopped = [one.setting["train.learning_rate"] for one in found.results if one.status == "stopped"]
    assert stopped == list(LEARNS_NOTHING)
    again = search(config)
    assert again.trained == 0
    assert again.results == found.results


@pytest.mark.slow
def test_the_median_rule_stops_on_the_first_fold_and_the_best_go_on_to_all(rates, ray_session):
    config = replace(rates, scheduler="median", first_folds="0", survivors=0.5)
    found = search(config)
    assert found.trained == 6
    assert epochs_of(found.results) == EPOCHS
    by_status = {one: [result for result in found.results if result.status == one] for one in ("done", "stopped")}
    assert [sorted(one.by_fold) for one in by_status["done"]] == [[0, 1]] * 2  # half of those that the rule let pass
    assert [sorted(one.by_fold) for one in by_status["stopped"]] == [[0]] * 4
    again = search(config)
    assert again.trained == 0
    assert again.results == found.results


@pytest.mark.slow
def test_a_lost_process_is_replaced_and_one_that_is_lost_for_ever_is_told(student, inputs, tmp_path, ray_session):
    settings = [{"loss.lambda_sd": value} for value in (0.1, 1.0, 5.0)]
    marker = tmp_path / "killed"

    class Poisoned(TrialPlan):  # a local class: it travels with the trial
        def jobs(self, setting, but=None):
            once = setting == settings[0] and not marker.exists()
            if once or setting == settings[1]:
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().jobs(setting, but)

    plan = Poisoned(replace(student, checkpoint_every_s=0), (Run(0, 0),), False, str(tmp_path / "out"))
    first, lost, last = on_ray(plan, settings, inputs, at_once=2, max_failures=1)
    assert marker.exists()
    expected = by_hand(TrialPlan(student, plan.runs, False, ""), [settings[0], settings[2]], inputs, tmp_path / "here")
    assert without_time([first, last]) == without_time(expected)
    assert lost.status == "failed"
    assert lost.problem


@pytest.mark.slow
def test_trials_leave_the_only_cpu_to_their_workers(student, inputs, tmp_path, ray_session):
    # A cluster of one CPU and a bit, as if something else held the others.
    holder = ray.remote(num_cpus=ray.cluster_resources()["CPU"] - 1.1)(dict).remote()
    ray.get(holder.__ray_ready__.remote())
    settings = [{"loss.lambda_sd": float(value)} for value in (1, 2)]
    plan = TrialPlan(replace(student, train=replace(TRAIN, epochs=1)), (Run(0, 0),), False, str(tmp_path / "out"))
    results = on_ray(plan, settings, inputs, at_once=1, on_workers=True)
    ray.kill(holder)
    assert [one.setting for one in results] == settings
    assert [one.status for one in results] == ["done", "done"]
    (expected,) = by_hand(plan, settings[:1], inputs, tmp_path / "here")
    assert results[0].validation_uar == pytest.approx(expected.validation_uar)
    assert not list(Path(plan.output, "trials").glob("*.pt"))
