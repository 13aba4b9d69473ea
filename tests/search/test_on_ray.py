"""Searches on Ray Tune: settings that fail or are stopped, processes that are lost, more trials than CPUs."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import ray
from ray.tune.experiment import Trial as TuneTrial
from small_search import by_hand, make_trial, without_time

from liser_ray.commands.settings import parse_settings
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.search.results import SettingResult, read_results
from liser_ray.search.space import parse_space, setting_key
from liser_ray.search.trial import OBJECTIVE, TrialPlan
from liser_ray.search.tuning import make_scheduler, run_trials
from liser_ray.storage.files import list_files
from liser_ray.student.training.config import StudentConfig


@pytest.mark.slow
def test_a_search_from_settings_to_a_configuration(config, inputs, tmp_path, ray_session, capsys):
    config = replace(
        config, output=str(tmp_path / "out"), space=["loss.lambdas.speech=0.1,5", "train.learning_rate=2e-3,1e30"]
    )
    result = search(config)
    assert result.trained == 4
    assert [one.status for one in result.results] == ["done", "failed"] * 2
    plan = TrialPlan(config, ((0, 0), (1, 0)), str(tmp_path / "here"))
    for one in result.results[::2]:
        assert without_time(one.runs) == by_hand(plan, one.setting, inputs)

    told = capsys.readouterr().out
    assert told.count("failed: fold 0, seed 0: The loss is not finite in epoch 1") == 2
    assert "4/4" in told
    table = pd.read_parquet(tmp_path / "out/trials.parquet")
    assert table["status"].tolist() == ["done", "failed"] * 2
    best = parse_settings(StudentConfig, "", ["--config", str(tmp_path / "out/best.yaml")])
    assert best.output == str(tmp_path / "out/student")
    assert best.loss.lambdas["speech"] == result.best.setting["loss.lambdas.speech"]
    assert (tmp_path / "out/heat_map.png").stat().st_size > 1000
    assert list((tmp_path / "out/tune").glob("*/events.out.tfevents*"))

    again = search(config)
    assert again.trained == 0
    assert again.results == result.results
    with pytest.raises(UserError, match="begun with other settings"):
        search(replace(config, seeds="1"))


@pytest.mark.slow
def test_suggestions_go_on_with_what_was_under_way_and_all_lies_on_s3(config, inputs, ray_session, s3_store):
    folder = f"s3://{s3_store.bucket()}/search"
    config = replace(config, output=folder, folds="0", method="tpe", space=["loss.lambdas.speech=0.1..5"], samples=2)
    plan = TrialPlan(replace(config, checkpoint_every_s=0.0), ((0, 0),), f"{folder}/trials")
    lost = make_trial(plan, {"loss.lambdas.speech": 0.3}, inputs)
    lost.report()  # and the search is killed
    found = search(config)
    assert found.results[0].setting == {"loss.lambdas.speech": 0.3}
    files = {Path(file.path).name for file in list_files(folder)}
    assert {"trials.parquet", "best.yaml", "slices.png", "settings.yaml", "run.json"} <= files
    assert not list_files(folder, ".pt")

    more = search(replace(config, samples=3))
    assert more.trained == 1
    assert more.results[:2] == found.results
    assert all(one.status == "done" and 0.1 <= one.setting["loss.lambdas.speech"] <= 5 for one in more.results)


@pytest.mark.slow
def test_asha_stops_what_learns_nothing_on_the_first_fold_and_the_best_goes_on_to_all(config, tmp_path, ray_session):
    """One trial after the other: each is compared with those before it."""
    config = replace(
        config,
        output=str(tmp_path / "out"),
        space=["train.learning_rate=2e-3,3e-3,4e-3,1e-9,2e-9,5e-3"],
        train=replace(config.train, epochs=4),
        scheduler="asha",
        grace_epochs=2,
        first_folds="0",
        survivors=0.25,
    )
    found = search(config)
    by_rate = {one.setting["train.learning_rate"]: one for one in found.results}
    assert {rate: max(run["epochs"] for run in one.runs) for rate, one in by_rate.items()} == dict.fromkeys(
        (2e-3, 3e-3, 4e-3, 5e-3), 4
    ) | dict.fromkeys((1e-9, 2e-9), 2)
    by_status = {one: [result for result in found.results if result.status == one] for one in ("done", "stopped")}
    assert [sorted(one.by_fold) for one in by_status["done"]] == [[0, 1]]  # a quarter of those that ASHA let pass
    assert [sorted(one.by_fold) for one in by_status["stopped"]] == [[0]] * 5
    assert found.trained == 6 + 1
    again = search(config)
    assert again.trained == 0
    assert again.results == found.results


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_a_scheduler_that_goes_on_knows_what_it_compares_with(kind):
    config = SearchConfig(scheduler=kind, grace_epochs=5)
    known = [SettingResult({}, "done", "", [], [[10, score], [20, score]]) for score in (0.5, 0.6, 0.7)]
    scheduler = make_scheduler(config, known)
    decisions = []
    for score in (0.9, 0.1):
        trial = TuneTrial("new", stub=True)
        scheduler.on_trial_add(None, trial)
        told = {"epoch": 10, OBJECTIVE: score, "training_iteration": 1}
        decisions.append(scheduler.on_trial_result(None, trial, told))
    assert decisions == [scheduler.CONTINUE, scheduler.STOP]


@pytest.mark.soak
def test_a_lost_process_is_replaced_and_one_that_is_lost_for_ever_is_told(config, inputs, tmp_path, ray_session):
    space = parse_space(["loss.lambdas.speech=0.1,1,5"], [*config.learned.lambdas])
    settings = [{"loss.lambdas.speech": value} for value in (0.1, 1.0, 5.0)]
    marker, driver = tmp_path / "killed", os.getpid()

    class Poisoned(TrialPlan):  # a local class: it travels with the trial
        def state_file(self, setting):
            once = setting == settings[0] and not marker.exists()
            if os.getpid() != driver and (once or setting == settings[1]):
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().state_file(setting)

    plan = Poisoned(replace(config, output=str(tmp_path), max_failures=1), ((0, 0),), str(tmp_path / "trials"))
    found = {}
    run_trials(plan, space, settings, 3, found, inputs)
    first, lost, last = (found[setting_key(setting)] for setting in settings)
    for one in (first, last):
        assert without_time(one.runs) == by_hand(TrialPlan(config, plan.runs, "/none"), one.setting, inputs)
    assert lost.status == "failed"
    assert lost.problem
    assert list(read_results(plan.folder).values()) == [first, last]  # the same command tries the other one again


@pytest.mark.soak
def test_trials_leave_the_only_cpu_to_their_workers(config, inputs, tmp_path, ray_session):
    # A cluster of one CPU and a bit, as if something else held the others.
    holder = ray.remote(num_cpus=ray.available_resources()["CPU"] - 1.1)(dict).remote()
    ray.get(holder.__ray_ready__.remote())
    setting = {"loss.lambdas.speech": 1.0}
    config = replace(config, output=str(tmp_path), workers=1, cpus_per_worker=1, train=replace(config.train, epochs=1))
    plan = TrialPlan(config, ((0, 0),), str(tmp_path / "trials"))
    found = {}
    run_trials(plan, parse_space(["loss.lambdas.speech=1"], [*config.learned.lambdas]), [setting], 1, found, inputs)
    ray.kill(holder)
    (result,) = found.values()
    assert result.status == "done"
    (expected,) = by_hand(replace(plan, folder="/none"), setting, inputs)
    assert result.validation_uar == pytest.approx(expected["validation_uar"])
