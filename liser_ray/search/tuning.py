"""Trials on Ray Tune: many beside each other, each in a process of its own or on workers of Ray Train."""

import functools
import json
import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import ray
import ray.train
import torch
from ray import tune
from ray.train import ScalingConfig
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from liser_ray.runtime.display import Tell
from liser_ray.search.config import Scheduler
from liser_ray.search.results import OBJECTIVE, RESULTS, SettingResult, from_json, to_json
from liser_ray.search.space import Setting, setting_key, value_text
from liser_ray.search.trial import Place, Trial, TrialPlan, write_told
from liser_ray.storage.addresses import join
from liser_ray.storage.files import delete_folder, filesystem
from liser_ray.student.training.run import RunInputs
from liser_ray.training.fit import ProcessGroup
from liser_ray.training.memory import KEEP_FREED_MEMORY
from liser_ray.training.workers import process_group, run_trainer

if TYPE_CHECKING:  # Optuna, which no trial needs
    from liser_ray.search.suggest import Suggestions

TUNE_FOLDER = "tune"
_TRAINERS = "trainers"
_DRIVER_CPUS = 0.001  # of a trial whose workers do the work
_NEVER = 10**6  # epochs
_ASHA_KEEPS = 3  # one of so many trials goes on at each of its looks


@dataclass(frozen=True)
class Resources:
    """What trials are given.

    Attributes:
        scaling: workers of a trial, and what each has.
        on_workers: whether a trial trains on workers of Ray Train; else it is a process itself.
        at_once: trials beside each other.
        max_failures: lost processes that a trial survives.
    """

    scaling: ScalingConfig
    on_workers: bool
    at_once: int
    max_failures: int


def tune_settings(
    plan: TrialPlan,
    trials: "Sequence[Sequence[Setting]] | tuple[Suggestions, int]",
    inputs: "ray.ObjectRef[RunInputs]",
    resources: Resources,
    scheduler: TrialScheduler,
    tell: Tell,
    after_trial: Callable[[list[SettingResult]], None],
) -> None:
    """Train trials to their end, or to where the scheduler stops them.

    Args:
        plan: of all trials.
        trials: the settings of each; or what suggests them, and how many trials there are to be.
        inputs: of all trials, in the object store, which copies them once to each node.
        resources: of each trial.
        scheduler: of `make_scheduler`.
        tell: see `Trial`.
        after_trial: told the results of each trial that is over, however it ended.
    """
    parameters = {"plan": plan, "inputs": [inputs], "tell": tell}
    trainable: Any
    if resources.on_workers:
        trainable = tune.with_parameters(_train_on_workers, resources=resources, **parameters)
        needs = {"cpu": _DRIVER_CPUS}
        failures = 0  # the workers have some of their own
    else:
        trainable = tune.with_parameters(TrainableTrial, **parameters)
        per_worker = cast("dict[str, float]", resources.scaling.resources_per_worker)
        needs = {name.lower(): share for name, share in per_worker.items()}
        failures = resources.max_failures
    if isinstance(trials, tuple):
        space: dict[str, Any] = {}
        search, n_trials = trials
    else:
        search, n_trials = None, 1
        space = {"settings": tune.grid_search([[dict(setting) for setting in one] for one in trials])}
        if all(len(one) == 1 for one in trials):  # columns of TensorBoard's table
            for name in trials[0][0]:
                space[name] = tune.sample_from(functools.partial(_value_of, name))
    # What Tune keeps is for TensorBoard: finished epochs are told again when a search goes on.
    delete_folder(join(plan.output, TUNE_FOLDER))
    fs, path = filesystem(plan.output)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # it would end the search as if it were done
    # What went wrong with a trial is told by `after_trial`, and whole in its error.txt.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        tune.with_resources(trainable, needs),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=OBJECTIVE,
            mode="max",
            search_alg=search,
            scheduler=scheduler,
            num_samples=n_trials,
            max_concurrent_trials=resources.at_once,
            # A function that a scheduler stops can't be stopped in the middle and used again.
            reuse_actors=not resources.on_workers or type(scheduler) is FIFOScheduler,
            trial_dirname_creator=_folder_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=tune.FailureConfig(max_failures=failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # `Trial` keeps its own
            callbacks=[_AfterTrials(plan, after_trial)],
            verbose=0,
        ),
    )
    tuner.fit()


def make_scheduler(kind: Scheduler, grace_epochs: int) -> TrialScheduler:
    """What stops trials early.

    Args:
        kind: "none", "asha" or "median".
        grace_epochs: that each trial has.
    """
    if kind == "asha":
        return _Asha(
            time_attr="training_iteration",  # an epoch
            grace_period=grace_epochs,
            max_t=_NEVER,  # the last epoch ends a trial by itself
            reduction_factor=_ASHA_KEEPS,
        )
    if kind == "median":
        return _Median(
            time_attr="training_iteration",
            grace_period=grace_epochs,
            hard_stop=True,
            min_time_slice=_NEVER,  # or it would pause trials while there is little to compare with
        )
    return FIFOScheduler()


class _OfScores(TrialScheduler):
    """Tells a scheduler only of epochs that have a score.

    Tune's own take NaN, which an epoch without validation or a first stage has, for a score: the median rule then stops
    nothing, or all.
    """

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:  # noqa: ANN401
        if math.isnan(result[OBJECTIVE]):
            return TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:  # noqa: ANN401
        if not math.isnan(result[OBJECTIVE]):
            super().on_trial_complete(tune_controller, trial, result)


class _Asha(_OfScores, AsyncHyperBandScheduler): ...


class _Median(_OfScores, MedianStoppingRule): ...


class TrainableTrial(tune.Trainable):
    """A trial in a process of its own, which may be that of an earlier one: what they share is loaded once."""

    def setup(  # type: ignore[override]  # Tune hands the rest of the parameters over
        self, config: dict[str, Any], plan: TrialPlan, inputs: list[Any], tell: Tell
    ) -> None:
        """Load what all trials share, and begin the first one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._plan, self._place, self._tell_driver = plan, Place(ray.get(inputs[0]), ProcessGroup(device)), tell
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another one."""
        self._trial = Trial(self._plan, new_config["settings"], self._place, self._tell_driver)
        return True

    def step(self) -> dict[str, Any]:
        """An epoch of all its students."""
        report = _report(self._trial.next_epoch())
        return {**report, "done": self._trial.finished}


def _train_on_workers(
    config: dict[str, Any], plan: TrialPlan, inputs: list[Any], tell: Tell, resources: Resources
) -> None:
    """A trial that only waits for its workers; what they report goes on to Tune."""
    problem = run_trainer(
        _train_worker,
        {"settings": config["settings"], "plan": plan, "inputs": inputs, "tell": tell},
        "-".join(setting_key(setting) for setting in config["settings"]),
        join(plan.output, TUNE_FOLDER, _TRAINERS),
        resources.scaling,
        resources.max_failures,
        KEEP_FREED_MEMORY,
        callbacks=[TuneReportCallback()],
    )
    if problem:
        raise RuntimeError(problem)


def _train_worker(arguments: dict[str, Any]) -> str:
    """What runs in a worker of Ray Train: its part of a trial."""
    place = Place(ray.get(arguments["inputs"][0]), process_group())
    trial = Trial(arguments["plan"], arguments["settings"], place, arguments["tell"])
    while not trial.finished:
        ray.train.report(_report(trial.next_epoch()))
    return ""


def _report(results: Sequence[SettingResult]) -> dict[str, Any]:
    """What Tune is told: numbers for its scheduler and TensorBoard, and all results."""
    scores = [result.validation_uar for result in results]
    known = [score for score in scores if not math.isnan(score)]
    report: dict[str, Any] = {
        OBJECTIVE: max(known) if known else math.nan,
        RESULTS: json.dumps([to_json(result) for result in results]),
    }
    if len(results) > 1:
        report["of"] = {_ascii_name(one.setting): score for one, score in zip(results, scores, strict=True)}
    return report


class _AfterTrials(tune.Callback):
    """Hands results over, and keeps what was told of settings that are stopped: they will not tell it again."""

    def __init__(self, plan: TrialPlan, after_trial: Callable[[list[SettingResult]], None]):
        self._plan, self._after_trial = plan, after_trial
        # By trial (of one setting) and epoch: a trial that lost its process tells the first ones again.
        self._told: dict[str, dict[int, SettingResult]] = {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,  # noqa: ANN401
    ) -> None:
        results = [from_json(text) for text in json.loads(result[RESULTS])]
        if len(results) == 1:
            epoch = max(run.epochs for run in results[0].runs)
            self._told.setdefault(trial.trial_id, {})[epoch] = results[0]

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:  # noqa: ANN401
        results = _results_of(trial)
        told = self._told.pop(trial.trial_id, {})
        if [one.status for one in results] == ["stopped"]:
            write_told(self._plan, [told[epoch] for epoch in sorted(told)])
        self._after_trial(results)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:  # noqa: ANN401
        error = re.sub(r"\x1b\[[0-9;]*m", "", str(trial.get_pickled_error())).strip().rpartition("\n")[2]
        found = {setting_key(one.setting): one for one in _results_of(trial)}
        results = []
        for setting in trial.config["settings"]:
            runs = found[setting_key(setting)].runs if setting_key(setting) in found else ()
            results.append(SettingResult(setting, "failed", error or "its process was lost", runs, 0.0))
        self._after_trial(results)


def _results_of(trial: TuneTrial) -> list[SettingResult]:
    return [from_json(text) for text in json.loads(trial.last_result.get(RESULTS, "[]"))]


def _value_of(name: str, spec: Any) -> Any:  # noqa: ANN401 (as Tune has it)
    return spec.config.settings[0][name]


def _folder_name(trial: TuneTrial) -> str:
    settings = trial.config["settings"]
    name = _ascii_name(settings[0]) if len(settings) == 1 else f"{len(settings)}-settings"
    return f"{name[:100]}_{trial.trial_id}"


def _ascii_name(setting: Setting) -> str:
    return ",".join(f"{name.rpartition('.')[2]}={value_text(value)}" for name, value in setting.items())
