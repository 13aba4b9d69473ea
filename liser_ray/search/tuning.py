"""Trials on Ray Tune: many beside each other, each in a process of its own or on workers of Ray Train."""

import logging
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never, cast

import numpy as np
import optuna
import ray
import ray.train
import torch
from ray import tune
from ray.train import ScalingConfig
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from liser_ray.runtime.cluster import cpus_of_nodes, start_ray
from liser_ray.runtime.display import Counting
from liser_ray.search.config import SearchConfig
from liser_ray.search.report import result_line
from liser_ray.search.results import SettingResult, Status, write_result
from liser_ray.search.space import Setting, Space, setting_key, setting_name
from liser_ray.search.trial import OBJECTIVE, Trial, TrialPlan
from liser_ray.storage.addresses import join
from liser_ray.storage.files import delete_file, filesystem
from liser_ray.storage.run_record import plain
from liser_ray.student.training.curves import mlflow_experiment, wandb_settings
from liser_ray.student.training.run import RunInputs
from liser_ray.training.fit import ProcessGroup
from liser_ray.training.memory import keep_freed_memory
from liser_ray.training.workers import fit_workers, process_group, run_trainer

log = logging.getLogger(__name__)

_DRIVER_CPUS = 0.001  # of a trial whose workers do the work
_NEVER = 10**6  # epochs


def run_trials(
    plan: TrialPlan,
    space: Space,
    settings: Sequence[Setting],
    n_trials: int,
    found: dict[str, SettingResult],
    inputs: RunInputs,
) -> None:
    """Train trials to their end, or to where the scheduler stops them.

    Args:
        plan: of all trials.
        space: of the settings.
        settings: to try first; if they are fewer than the trials, the rest is suggested by Optuna's tree-structured
            Parzen estimator.
        n_trials: how many to train.
        found: what earlier calls have found, by the settings' keys; each that is over is added.
        inputs: of all trials; copied once to each node.

    Raises:
        UserError: the cluster has no room for a trial.
    """
    start_ray()
    config = plan.config
    workers = replace(config, workers=max(1, config.workers))
    limit = min(n_trials, config.max_concurrent_trials or n_trials)
    scaling, at_once = fit_workers(workers, limit, ray.cluster_resources(), cpus_of_nodes(), gpu_share=0.25)
    log.info("%d trials, %d at once, each with %s", n_trials, at_once, scaling.resources_per_worker)
    trainable: Any = _train_on_workers if config.workers else TrialProcess
    share: Any = {"CPU": _DRIVER_CPUS} if config.workers else scaling.resources_per_worker
    shared = {"plan": plan, "inputs": [ray.put(inputs)], "scaling": scaling}
    known = list(found.values())
    scheduler = make_scheduler(config, known)
    fs, path = filesystem(config.output)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # it would end the search as if it were done
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # `_Results` says what there is to say of a trial
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with Counting("settings", len(found) + n_trials, len(found)) as counting:
        tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, **shared), {name.lower(): value for name, value in share.items()}
            ),
            tune_config=tune.TuneConfig(
                search_alg=_make_searcher(space, settings, known, config.sampling_seed),
                scheduler=scheduler,
                num_samples=n_trials,
                max_concurrent_trials=at_once,
                # A function that a scheduler stops can't be stopped in the middle and used again.
                reuse_actors=not config.workers or scheduler is None,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=path,
                storage_filesystem=fs,
                # The workers of a trial have some of their own.
                failure_config=tune.FailureConfig(max_failures=0 if config.workers else config.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # `Trial` keeps its own
                callbacks=[_Results(plan, found, counting), *_loggers(config)],
                verbose=0,
            ),
        ).fit()


def _loggers(config: SearchConfig) -> list[tune.Callback]:
    """Ray's own loggers besides those that Tune has anyway, TensorBoard's among them."""
    if config.log == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return [MLflowLoggerCallback(experiment_name=mlflow_experiment(), tags={"output": config.output})]
    if config.log == "wandb":
        from ray.air.integrations.wandb import WandbLoggerCallback

        return [WandbLoggerCallback(**wandb_settings(config.output, config.output))]
    return []


def make_scheduler(config: SearchConfig, known: Sequence[SettingResult]) -> TrialScheduler | None:
    """What stops trials early, None if nothing does; what is known of others is told to it."""
    if config.scheduler == "none":
        return None
    common: Any = {"time_attr": "epoch", "metric": OBJECTIVE, "mode": "max", "grace_period": config.grace_epochs}
    scheduler: TrialScheduler
    if config.scheduler == "asha":
        scheduler = AsyncHyperBandScheduler(max_t=_NEVER, reduction_factor=3, **common)  # its last epoch ends a trial
    elif config.scheduler == "median":
        # With an end to its time slice it pauses trials while there is little to compare with.
        scheduler = MedianStoppingRule(hard_stop=True, min_time_slice=cast("int", math.inf), **common)
    else:
        assert_never(config.scheduler)
    controller: Any = None  # with which they would pause trials; ours can only be stopped
    for result in filter(lambda one: one.curve, known):
        trial, report = TuneTrial("known", stub=True), {}
        scheduler.on_trial_add(controller, trial)
        for epoch, score in result.curve:
            report = {"epoch": epoch, OBJECTIVE: score}
            scheduler.on_trial_result(controller, trial, report)
        scheduler.on_trial_complete(controller, trial, report)
    return scheduler


def _make_searcher(
    space: Space, settings: Sequence[Setting], known: Sequence[SettingResult], seed: int
) -> OptunaSearch:
    """Suggests the settings, then what the results of others promise; names of fields have no "/", Tune's delimiter."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first, seed = list(map(dict, settings)), seed + len(known)  # not the draws of the beginning again
    searcher = OptunaSearch(dict(space), OBJECTIVE, "max", points_to_evaluate=first, seed=seed)
    for result in known:
        searcher.add_evaluated_point(dict(result.setting), float(np.nan_to_num(result.validation_uar)))
    return searcher


class TrialProcess(tune.Trainable):
    """A trial in a process of its own, which may be that of an earlier one: what they share is loaded once."""

    def setup(self, config: dict[str, Any], plan: TrialPlan, inputs: list[Any], scaling: ScalingConfig) -> None:  # type: ignore[override]
        """Load what all trials share, and begin the first one."""
        keep_freed_memory()
        self._plan, self._inputs = plan, ray.get(inputs[0])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another one."""
        group = ProcessGroup(torch.device("cuda" if ray.get_gpu_ids() else "cpu"))  # Ray hides no GPU from the others
        self._trial = Trial(self._plan, new_config, self._inputs, group)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next epoch that has a score."""
        report = self._trial.report()
        return {**report, "done": report["ended"]}


def _train_on_workers(config: dict[str, Any], plan: TrialPlan, inputs: list[Any], scaling: ScalingConfig) -> None:
    """A trial that only waits for its workers; what they report goes on to Tune."""
    problem = run_trainer(
        _train_worker,
        {"setting": config, "plan": plan, "inputs": inputs},
        tune.get_context().get_trial_id(),
        join(plan.config.output, "tune/trainers"),
        scaling,
        plan.config.max_failures,
        callbacks=[TuneReportCallback()],
    )
    if problem:
        raise RuntimeError(problem)


def _train_worker(arguments: dict[str, Any]) -> str:
    """What runs in a worker of Ray Train: its part of a trial."""
    trial = Trial(arguments["plan"], arguments["setting"], ray.get(arguments["inputs"][0]), process_group())
    while not trial.finished:
        ray.train.report(trial.report())
    return ""


class _Results(tune.Callback):
    """Keeps the result of each trial that is over, and prints it."""

    def __init__(self, plan: TrialPlan, found: dict[str, SettingResult], counting: Counting):
        self._plan, self._found, self._counting = plan, found, counting

    def on_trial_result(self, *, trial: TuneTrial, result: dict[str, Any], **info: object) -> None:  # type: ignore[override]
        """Show how far it is."""
        text = f"{setting_name(trial.config)}: epoch {result['epoch']}, UAR {result[OBJECTIVE]:.2f}"
        self._counting.show(self._counting.done, text)

    def on_trial_complete(self, *, trial: TuneTrial, **info: object) -> None:  # type: ignore[override]
        """Keep what it came to."""
        problem, ended = trial.last_result["problem"], trial.last_result["ended"]
        result = self._result(trial, "failed" if problem else "done" if ended else "stopped", problem)
        write_result(self._plan.folder, result)
        delete_file(self._plan.state_file(result.setting))
        self._add(result)

    def on_trial_error(self, *, trial: TuneTrial, **info: object) -> None:  # type: ignore[override]
        """Tell that its process was lost for good; the same command tries it again."""
        error = re.sub(r"\x1b\[[0-9;]*m", "", str(trial.get_pickled_error())).strip().rpartition("\n")[2]
        self._add(self._result(trial, "failed", error or "its process was lost"))

    def _result(self, trial: TuneTrial, status: Status, problem: str) -> SettingResult:
        runs, curve = (plain((trial.last_result or {}).get(name, ())) for name in ("runs", "curve"))
        return SettingResult(trial.config, status, problem, runs, curve, time.time())

    def _add(self, result: SettingResult) -> None:
        self._found[setting_key(result.setting)] = result
        self._counting.advance()
        print(result_line(result, list(self._found.values()), self._counting.total or 0), flush=True)
