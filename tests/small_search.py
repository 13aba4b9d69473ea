"""Trials of a search in this process, to compare with those on Ray."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from liser_ray.search.results import RunScore
from liser_ray.search.space import Setting
from liser_ray.search.trial import Trial, TrialPlan
from liser_ray.student.training.run import RunInputs
from liser_ray.training.fit import ProcessGroup


def make_trial(plan: TrialPlan, setting: Setting, inputs: RunInputs) -> Trial:
    """A trial of a setting, not begun or from its checkpoint on."""
    return Trial(plan, setting, inputs, ProcessGroup(torch.device("cpu")))


def reports(trial: Trial) -> list[dict]:
    """What it tells until it is finished."""
    told = []
    while not trial.finished:
        told.append(trial.report())
    return told


def by_hand(plan: TrialPlan, setting: Setting, inputs: RunInputs) -> list[RunScore]:
    """The scores of a setting that was trained by itself, without the time that it took."""
    plan = replace(plan, config=replace(plan.config, checkpoint_every_s=1e9))
    return without_time(reports(make_trial(plan, setting, inputs))[-1]["runs"])


def run_score(fold: int, seed: int, validation_uar: float, seconds: float = 1.0) -> RunScore:
    """A score of a training of three epochs, of which the second was the best."""
    return RunScore(
        fold=fold,
        seed=seed,
        epochs=3,
        best_epoch=2,
        validation_uar=validation_uar,
        validation_loss=1.2,
        seconds=seconds,
    )


def without_time(runs: Sequence[RunScore]) -> list[RunScore]:
    """Scores as they are equal for equal trainings."""
    return [{**run, "seconds": 0.0} for run in runs]
