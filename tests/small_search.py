"""Trials of a search in this process, to compare with those on Ray."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from liser_ray.search.results import SettingResult
from liser_ray.search.space import Setting
from liser_ray.search.trial import Place, Trial, TrialPlan
from liser_ray.student.training.run import ProcessGroup, RunInputs


def make_place(inputs: RunInputs) -> Place:
    return Place(inputs, ProcessGroup(torch.device("cpu")))


def make_trial(plan: TrialPlan, place: Place, *settings: Setting) -> Trial:
    return Trial(plan, settings, place, lambda name, steps, line: None)


def finish(trial: Trial) -> list[list[SettingResult]]:
    """What it tells after each epoch."""
    told = []
    while not trial.finished:
        told.append(trial.next_epoch())
    return told


def by_hand(plan: TrialPlan, settings: Sequence[Setting], inputs: RunInputs, folder: Path) -> list[SettingResult]:
    """The results of settings, each trained by itself."""
    plan, place = replace(plan, output=str(folder)), make_place(inputs)
    return [finish(make_trial(plan, place, setting))[-1][0] for setting in settings]


def without_time(results: Sequence[SettingResult]) -> list[SettingResult]:
    """The results, which are equal for equal trainings."""
    return [replace(result, seconds=0.0) for result in results]
