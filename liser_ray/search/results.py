"""What a search has found: a row for each setting, as a table that anyone can read."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from liser_ray.search.space import Axis, Setting

OBJECTIVE = "validation_uar"
"""Key of a trial's report: the score of its setting, or the best of its settings."""

RESULTS = "results"
"""Key of a trial's report: its `SettingResult`s as a JSON list of `to_json`'s texts."""

Status = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class RunScore:
    """How a student of a setting does on the validation speakers of its fold.

    Attributes:
        fold, seed: of the student.
        validation_uar: of its best epoch so far, 0..1; None before the first one.
        best_epoch: which that was, from 1 on; 0 before the first one.
        epochs: how many were trained.
    """

    fold: int
    seed: int
    validation_uar: float | None
    best_epoch: int
    epochs: int


@dataclass(frozen=True)
class SettingResult:
    """What became of a setting.

    Attributes:
        setting: values by the fields' names.
        status: "done", "stopped" by the scheduler or since others were better on the first folds, or "failed".
        problem: why it failed.
        runs: by fold and seed.
        seconds: of training, of all its runs together.
    """

    setting: Setting
    status: Status
    problem: str
    runs: tuple[RunScore, ...]
    seconds: float

    @property
    def validation_uar(self) -> float:
        """The objective: mean over folds and seeds, 0..1; NaN if it failed or has not begun."""
        return float(np.mean(list(self.by_fold.values()))) if self.by_fold else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over the folds; NaN with less than two."""
        values = list(self.by_fold.values())
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    @property
    def by_fold(self) -> dict[int, float]:
        """Mean over the seeds of each fold."""
        if self.status == "failed":
            return {}
        scores: dict[int, list[float]] = {}
        for run in self.runs:
            if run.validation_uar is not None:
                scores.setdefault(run.fold, []).append(run.validation_uar)
        return {fold: float(np.mean(values)) for fold, values in sorted(scores.items())}


def ranked(results: Sequence[SettingResult]) -> list[SettingResult]:
    """The best first; those that were not trained to the end after those that were, failed ones last."""
    order: dict[Status, int] = {"done": 0, "stopped": 1, "failed": 2}
    return sorted(results, key=lambda one: (order[one.status], -np.nan_to_num(one.validation_uar, nan=-1)))


def score_text(result: SettingResult) -> str:
    """Mean and spread over the folds, as ".512 ± .034"."""
    if math.isnan(result.validation_uar):
        return "?"
    mean, spread = (f"{value:.3f}".removeprefix("0") for value in (result.validation_uar, result.spread))
    return mean if math.isnan(result.spread) else f"{mean} ± {spread}"


def to_json(result: SettingResult) -> str:
    """For `from_json`; small enough to travel with every report of a trial."""
    return json.dumps(asdict(result))


def from_json(text: str) -> SettingResult:
    """What `to_json` has written."""
    content: dict[str, Any] = json.loads(text)
    return SettingResult(**content | {"runs": tuple(RunScore(**run) for run in content["runs"])})


def to_table(axes: Sequence[Axis], results: Sequence[SettingResult]) -> pa.Table:
    """A row per setting, in the order given.

    Columns: ``trial`` (from 1 on), one of each axis' name, ``status``, ``problem``, ``validation_uar`` and
    ``validation_uar_std`` (over folds; null without), ``seconds``, and ``runs``, a list of structs as `RunScore`.
    """
    run = pa.struct(
        [
            ("fold", pa.int32()),
            ("seed", pa.int64()),
            ("validation_uar", pa.float64()),
            ("best_epoch", pa.int32()),
            ("epochs", pa.int32()),
        ]
    )
    columns: dict[str, pa.Array] = {"trial": pa.array(range(1, len(results) + 1), pa.int32())}
    for axis in axes:
        columns[axis.name] = pa.array([result.setting[axis.name] for result in results])
    columns["status"] = pa.array([result.status for result in results], pa.string())
    columns["problem"] = pa.array([result.problem for result in results], pa.string())
    for name, values in (
        ("validation_uar", [result.validation_uar for result in results]),
        ("validation_uar_std", [result.spread for result in results]),
    ):
        columns[name] = pa.array(values, pa.float64(), from_pandas=True)  # NaN is null
    columns["seconds"] = pa.array([result.seconds for result in results], pa.float64())
    columns["runs"] = pa.array([[asdict(run) for run in result.runs] for result in results], pa.list_(run))
    return pa.table(columns)
