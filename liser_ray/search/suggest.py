"""Settings that Optuna suggests, where earlier ones were good."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from liser_ray.search.results import OBJECTIVE, RESULTS, SettingResult, from_json
from liser_ray.search.space import Axis, rounded


class Suggestions(Searcher):
    """Optuna's tree-structured Parzen estimator, through Ray Tune, for trials of one or several settings each.

    Args:
        axes: of the space.
        seed: of the draws.
        per_trial: settings of a trial.
        known: results of an earlier run, which it learns from.
    """

    def __init__(self, axes: Sequence[Axis], seed: int, per_trial: int, known: Sequence[SettingResult]):
        super().__init__(metric=OBJECTIVE, mode="max")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._axes, self._per_trial = axes, per_trial
        space = {axis.name: _distribution(axis) for axis in axes}
        self._optuna = OptunaSearch(space, metric=OBJECTIVE, mode="max", seed=seed)
        for result in known:
            failed = result.status == "failed"
            self._optuna.add_evaluated_point(dict(result.setting), result.validation_uar, error=failed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The settings of a trial."""
        found = [self._optuna.suggest(part) for part in self._parts(trial_id)]
        return {"settings": [rounded(self._axes, one) for one in found if one is not None]}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how good they were."""
        texts = json.loads(result[RESULTS]) if result and RESULTS in result else []
        found = dict(enumerate(map(from_json, texts)))
        for number, part in enumerate(self._parts(trial_id)):
            one = found.get(number)
            if error or one is None or one.status == "failed":
                self._optuna.on_trial_complete(part, None, error=True)
            else:
                self._optuna.on_trial_complete(part, {OBJECTIVE: one.validation_uar})

    def save(self, checkpoint_path: str) -> None:
        """Not needed: a search that goes on learns from the results in its folder."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def _parts(self, trial_id: str) -> list[str]:
        return [f"{trial_id}-{part}" for part in range(self._per_trial)]


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.logarithmic)
    return FloatDistribution(axis.low, axis.high, log=axis.logarithmic)
