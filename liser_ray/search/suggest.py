"""Settings that Optuna suggests, where earlier ones were good."""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from liser_ray.search.results import OBJECTIVE, RESULTS, SettingResult, from_json
from liser_ray.search.space import Axis, Setting, rounded


class Suggestions(Searcher):
    """Optuna's tree-structured Parzen estimator, through Ray Tune, for trials of one or several settings each.

    Args:
        axes: of the space.
        seed: of the draws.
        known: results of an earlier run, which it learns from.
        begun: settings of the first trials: those that an earlier run had begun.
        sizes: how many settings each trial after them has.
        note: told the settings of each trial.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        seed: int,
        known: Sequence[SettingResult],
        begun: Sequence[Sequence[Setting]],
        sizes: Sequence[int],
        note: Callable[[list[Setting]], None],
    ):
        super().__init__(metric=OBJECTIVE, mode="max")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._axes, self._note = axes, note
        self._sizes = deque([*map(len, begun), *sizes])
        self._parts: dict[str, list[str]] = {}  # by trial: names of Optuna's own trials, one for each setting
        space = {axis.name: _distribution(axis) for axis in axes}
        first = [dict(setting) for trial in begun for setting in trial]
        self._optuna = OptunaSearch(space, points_to_evaluate=first, metric=OBJECTIVE, mode="max", seed=seed)
        for result in known:
            failed = result.status == "failed"
            self._optuna.add_evaluated_point(dict(result.setting), result.validation_uar, error=failed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The settings of a trial."""
        self._parts[trial_id] = [f"{trial_id}-{part}" for part in range(self._sizes.popleft())]
        found = [self._optuna.suggest(part) for part in self._parts[trial_id]]
        settings = [rounded(self._axes, one) for one in found if one is not None]
        self._note(settings)
        return {"settings": settings}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how good they were."""
        texts = json.loads(result[RESULTS]) if result and RESULTS in result else []
        found = dict(enumerate(map(from_json, texts)))
        for number, part in enumerate(self._parts.pop(trial_id, [])):
            one = found.get(number)
            if error or one is None or one.status == "failed":
                self._optuna.on_trial_complete(part, None, error=True)
            else:
                self._optuna.on_trial_complete(part, {OBJECTIVE: one.validation_uar})

    def save(self, checkpoint_path: str) -> None:
        """Not needed: a search that goes on learns from the results in its folder."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.logarithmic)
    return FloatDistribution(axis.low, axis.high, log=axis.logarithmic)
