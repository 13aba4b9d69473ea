"""Searches on Ray Tune: settings that fail, processes that are lost, more trials than CPUs."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import ray
import torch
from ray.train import ScalingConfig
from tone_files import write_tone_labels, write_tones

from liser_ray.cli import parse_settings
from liser_ray.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.search.results import SettingResult
from liser_ray.search.space import setting_key
from liser_ray.search.trial import Place, Run, Trial, TrialPlan
from liser_ray.search.tuning import Resources, make_scheduler, tune_settings
from liser_ray.storage import list_files
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import check, make_inputs
from liser_ray.student.training.run import ProcessGroup

TRAIN = TrainConfig(epochs=2, batch_size=10, learning_rate=2e-3)
ONE_CPU = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    tones = write_tones(tmp_path_factory.mktemp("tones"))
    return StudentConfig(tones, write_tone_labels(tmp_path_factory.mktemp("labels"), tones), train=TRAIN)


@pytest.fixture(scope="module")
def inputs(student):
    return make_inputs(student, check(student))


def without_time(result: SettingResult) -> SettingResult:
    return replace(result, seconds=0.0)


def by_hand(plan, settings, inputs, folder):
    """The results of the same trials in this process."""
    place = Place(inputs, ProcessGroup(torch.device("cpu")))
    results = []
    for setting in settings:
        trial = Trial(replace(plan, output=str(folder)), [setting], place, lambda name, steps, line: None)
        while not trial.finished:
            (result,) = trial.next_epoch()
        results.append(without_time(result))
    return results


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
    assert list(map(without_time, result.results)) == expected

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
def test_populations_suggestions_and_schedulers_find_their_way_through(student, tmp_path, ray_session, s3_store):
    plain = SearchConfig(
        labeled=student.labeled,
        unlabeled=student.unlabeled,
        folds="0",
        train=TRAIN,
        space=["loss.lambda_sd=0.1..5"],
        method="tpe",
        samples=5,
        population=2,
        max_concurrent_trials=1,  # fewer processes to start
        output=f"s3://{s3_store.bucket()}/search",
    )
    suggested = search(plain)
    files = {Path(file.path).name for file in list_files(plain.output)}
    assert {"trials.parquet", "best.yaml", "slices.png", "settings.yaml", "run.json"} <= files
    assert len(suggested.results) >= 5
    assert all(one.status == "done" and 0.1 <= one.setting["loss.lambda_sd"] <= 5 for one in suggested.results)

    slow = ["train.learning_rate=1e-9,2e-9,3e-9,2e-3,4e-3,6e-3"]
    asha = replace(
        plain,
        method="grid",
        population=0,
        space=slow,
        scheduler="asha",
        grace_epochs=1,
        train=replace(TRAIN, epochs=4),
        folds="all",
        first_folds="0",
        survivors=0.6,
        output=str(tmp_path / "asha"),
    )
    halved = search(asha)
    done = [one for one in halved.results if one.status == "done"]
    assert done
    assert {one.status for one in halved.results} == {"done", "stopped"}
    assert all(sorted(one.by_fold) == [0, 1] for one in done)
    again = search(asha)  # what was stopped is not trained either
    assert again.trained == 0
    assert again.results == halved.results


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
    found = {}
    tune_settings(
        plan,
        [[setting] for setting in settings],
        ray.put(inputs),
        Resources(ONE_CPU, on_workers=False, at_once=2, max_failures=1),
        make_scheduler("none", 1),
        lambda name, steps, line: None,
        lambda results: found.update({setting_key(one.setting): one for one in results}),
    )
    assert marker.exists()
    first, lost, last = (found[setting_key(setting)] for setting in settings)
    expected = by_hand(TrialPlan(student, plan.runs, False, ""), [settings[0], settings[2]], inputs, tmp_path / "here")
    assert [without_time(first), without_time(last)] == expected
    assert lost.status == "failed"
    assert lost.problem


@pytest.mark.slow
def test_more_trials_than_cpus_that_wait_for_workers_do_not_wait_for_ever(student, inputs, tmp_path, ray_session):
    # A cluster of two CPUs and a bit, as if something else held the others: each trial's worker needs one of them.
    holder = ray.remote(num_cpus=ray.cluster_resources()["CPU"] - 2.1)(dict).remote()
    ray.get(holder.__ray_ready__.remote())
    settings = [{"loss.lambda_sd": float(value)} for value in (1, 2, 3)]
    plan = TrialPlan(replace(student, train=replace(TRAIN, epochs=1)), (Run(0, 0),), False, str(tmp_path / "out"))
    found = []
    tune_settings(
        plan,
        [[setting] for setting in settings],
        ray.put(inputs),
        Resources(ONE_CPU, on_workers=True, at_once=2, max_failures=0),
        make_scheduler("none", 1),
        lambda name, steps, line: None,
        lambda results: found.extend(results),
    )
    ray.kill(holder)
    assert sorted(one.setting["loss.lambda_sd"] for one in found) == [1, 2, 3]
    (expected,) = by_hand(plan, settings[:1], inputs, tmp_path / "here")
    (same,) = [one for one in found if one.setting == settings[0]]
    assert same.status == "done"
    assert same.validation_uar == pytest.approx(expected.validation_uar)
    assert not list(Path(plan.output, "trials").glob("*.pt"))
