"""What a search has found: a file for each setting that is over, and a table of all that anyone can read."""

import json
import math
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa

from liser_ray.results.tables import score_text
from liser_ray.search.space import Setting, setting_key
from liser_ray.storage.addresses import join
from liser_ray.storage.files import list_files, read_bytes, write_bytes

Status = Literal["done", "stopped", "failed"]


class RunScore(TypedDict):
    """How a student of a setting, a fold and a seed does on the validation speakers of the fold.

    Keys:
        epochs: how many were trained.
        best_epoch: the best of them, from 1 on.
        validation_uar, validation_loss: of that epoch, 0..1 and mean cross-entropy.
        seconds: of training.
    """

    fold: int
    seed: int
    epochs: int
    best_epoch: int
    validation_uar: float
    validation_loss: float
    seconds: float


@dataclass(frozen=True)
class SettingResult:
    """What became of a setting.

    Attributes:
        setting: values by the fields' names.
        status: "done", "stopped" by the scheduler or since others were better on the first folds, or "failed".
        problem: why it failed.
        runs: a student for each fold and seed.
        curve: epochs after which there was a score, and the mean UAR then, which a scheduler goes by.
        ended_s: when, in seconds since 1970: the order of what was suggested (files on S3 know whole seconds only).
    """

    setting: Setting
    status: Status
    problem: str
    runs: list[RunScore]
    curve: list[list[float]] = field(default_factory=list)
    ended_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Of training, of all its runs together."""
        return sum(run["seconds"] for run in self.runs)

    @property
    def by_fold(self) -> dict[int, float]:
        """UAR of each fold, the mean over its seeds; nothing if it failed."""
        scores: dict[int, list[float]] = {}
        for run in self.runs if self.status != "failed" else ():
            scores.setdefault(run["fold"], []).append(run["validation_uar"])
        return {fold: float(np.mean(values)) for fold, values in sorted(scores.items())}

    @property
    def validation_uar(self) -> float:
        """The objective: mean over folds and seeds, 0..1; NaN if it failed."""
        return float(np.mean(list(self.by_fold.values()))) if self.by_fold else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over the folds; NaN with less than two."""
        return float(np.std(list(self.by_fold.values()), ddof=1)) if len(self.by_fold) > 1 else math.nan


@dataclass(frozen=True)
class SearchResult:
    """What a search came to: all settings as they were tried, names of PNGs, and how many trials this call finished."""

    output: str
    results: tuple[SettingResult, ...]
    pictures: tuple[str, ...]
    trained: int

    @property
    def best(self) -> SettingResult:
        """The setting with the highest UAR on the validation speakers of all folds."""
        return ranked(self.results)[0]


def ranked(results: Sequence[SettingResult]) -> list[SettingResult]:
    """The best first; those that were not trained to the end after those that were, failed ones last."""
    order: dict[Status, int] = {"done": 0, "stopped": 1, "failed": 2}
    return sorted(results, key=lambda one: (order[one.status], -np.nan_to_num(one.validation_uar, nan=-1)))


def write_result(folder: str, result: SettingResult) -> None:
    """Keep a result, for which nothing is then trained again."""
    write_bytes(join(folder, f"{setting_key(result.setting)}.json"), json.dumps(asdict(result)).encode())


def read_results(folder: str) -> dict[str, SettingResult]:
    """All results that `write_result` has kept, by the settings' keys, the oldest first."""
    names = [posixpath.basename(file.path) for file in list_files(folder, ".json")]
    with ThreadPoolExecutor(16) as threads:  # on S3 each takes a while
        files = threads.map(read_bytes, [join(folder, name) for name in names])
        results = [SettingResult(**json.loads(file)) for file in files]
    return {setting_key(one.setting): one for one in sorted(results, key=lambda one: one.ended_s)}


def uar_text(result: SettingResult) -> str:
    """Mean and spread over the folds, as ".512 ± .034"."""
    mean = score_text(result.validation_uar)
    return mean if math.isnan(result.spread) else f"{mean} ± {score_text(result.spread)}"


def to_table(results: Sequence[SettingResult]) -> pa.Table:
    """A row per setting, in the order given.

    Columns: ``trial`` (from 1 on), one of each field that is searched, ``status``, ``problem``, ``validation_uar`` and
    ``validation_uar_std`` (over folds; null without), ``seconds``, and ``runs``, a list of structs as `RunScore`.
    """
    columns: dict[str, Any] = {"trial": list(range(1, len(results) + 1))}
    for name in results[0].setting:
        columns[name] = [one.setting[name] for one in results]
    for name in ("status", "problem"):
        columns[name] = [getattr(one, name) for one in results]
    for name, of in {"validation_uar": "validation_uar", "validation_uar_std": "spread", "seconds": "seconds"}.items():
        columns[name] = pa.array([getattr(one, of) for one in results], pa.float64(), from_pandas=True)  # NaN is null
    return pa.table(columns | {"runs": [one.runs for one in results]})
