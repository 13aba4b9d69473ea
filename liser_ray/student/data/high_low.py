"""Which values of a scalar are high and which are low: beside the others of the same speaker.

One person is louder than another, and one recording than another, all of the time. So a window is compared with its
group: the windows of its speaker (column ``speaker`` or ``speaker_id`` of the labels table, which a manifest or a
labeled set gives it, or MSP-Face's ``SpkrID``), without one those of its recording (``uri``), and where these are fewer
than ten, all of the table. With q the quantiles of the group's windows,

    t = 1 (high)  if  v ≥ q(.6) and v > q(.4)
    t = 0 (low)   if  v ≤ q(.4) and v < q(.6)

and the middle fifth is left out. The second conditions are for values that occur many times: of a constant nothing is
high or low. Quantiles are of the windows with a ``valid`` above 0, as the scale of a scalar is.

They are those of at most 1,000 random windows of a group, drawn as the table is read once. A quantile of so many is
good to 1.6 of a hundred (standard deviation). While the table is read that takes 36 bytes a window (0.36 GB of ten
million, of 250,000 recordings), and no more than 36 kB a speaker or recording; then 16 bytes a group.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from liser_ray.corpora.labeled_list import NAMES
from liser_ray.student.config import Scalars
from liser_ray.student.data.labels_table import LabelsTable, has_column, read_groups, windows_of
from liser_ray.teachers.targets import Target

_SPEAKER, _RECORDING = (*NAMES["speaker"], "SpkrID"), "uri"
_TABLE = np.uint64(2**64 - 1)
_LOW, _HIGH = 0.4, 0.6
_FEWEST = 10  # windows of a group of its own
_MOST = 1_000
_PENDING = 1_000_000  # windows read until those that are too many are dropped


@dataclass(frozen=True, eq=False)
class Split:
    """Where a scalar of a table is split.

    Attributes:
        columns: of the table, which say whose a row is.
        groups: uint64 [G + 1], ascending: those of ten windows and more, and one that stands for the table.
        bounds: float32 [G + 1, 2], q(.4) and q(.6) of each; of a table of fewer windows NaN, beside which nothing is
            high or low.
    """

    columns: tuple[str, ...]
    groups: np.ndarray
    bounds: np.ndarray

    def __call__(self, rows: pa.Table, n_windows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether windows are high, and whether they are one of both.

        Args:
            rows: of the table, with ``columns``.
            n_windows: int64 [n], of each row.
            values: float32 [W, 1], of the windows.

        Returns:
            t float32 [W, 1], and bool [W], False for windows in the middle.
        """
        groups = _groups_of(rows)
        at = np.searchsorted(self.groups, groups)
        bounds = self.bounds[np.where(self.groups[at] == groups, at, -1)]
        low, high = np.repeat(bounds, n_windows, axis=0).T[:, :, None]
        is_high, is_low = (values >= high) & (values > low), (values <= low) & (values < high)
        return is_high.astype(np.float32), (is_high | is_low)[:, 0]


def splits_of(table: LabelsTable, targets: Collection[Target], scalars: Scalars) -> dict[str, Split]:
    """Where those of a table's targets that are scalars are split, by name; none where their values are learned.

    The table is read once for all of them.
    """
    names = [target.name for target in targets if target.kind == "scalar"]
    if scalars == "value" or not names:
        return {}
    by = (_RECORDING, *[name for name in _SPEAKER if has_column(table, name)][:1])
    columns = [*by, *(f"targets.{name}.{part}" for name in names for part in ("values", "valid"))]
    samples = {name: (_Sample(), _Sample()) for name in names}
    for number, rows in enumerate(read_groups(table, columns)):
        groups = _groups_of(rows)
        for name, (of_groups, of_whole) in samples.items():
            values, n_windows, valid = windows_of(rows, name)
            draws = np.random.default_rng(number).random(len(values), np.float32)
            windows = _Windows(np.repeat(groups, n_windows), draws, values[:, 0])
            windows = _Windows(*(one[valid > 0] for one in windows))
            of_groups.add(windows)
            of_whole.add(windows._replace(group=np.full(len(windows.group), _TABLE)))
    return {name: _split(by, *both) for name, both in samples.items()}


class _Windows(NamedTuple):
    """Of some windows: group uint64, a random number float32, value float32, [n] each."""

    group: np.ndarray
    draw: np.ndarray
    value: np.ndarray


class _Sample:
    """Of each group the 1,000 windows with the smallest draws: the same ones in whatever parts they come."""

    def __init__(self) -> None:
        self._parts: list[_Windows] = []
        self._n_parts = self._n_kept = 0

    def add(self, windows: _Windows) -> None:
        """Take these into account."""
        self._parts.append(windows)
        self._n_parts += len(windows.group)
        if self._n_parts > 2 * self._n_kept + _PENDING:
            self._shorten()

    def quantiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Groups of ten windows and more, uint64 [G], and q(.4) and q(.6) of each, float32 [G, 2]."""
        self._shorten()
        (windows,) = self._parts
        found = [(np.zeros(0, np.uint64), np.zeros((0, 2), np.float32))]
        for order, firsts, counts in _group_by_group(windows.group, windows.value):
            at = firsts[:, None] + np.array([_LOW, _HIGH]) * (counts[:, None] - 1)
            values = windows.value[order].astype(np.float64)
            below, above = (values[edge(at).astype(np.int64)] for edge in (np.floor, np.ceil))
            bounds = (below + at % 1 * (above - below)).astype(np.float32)
            large = counts >= _FEWEST
            found.append((windows.group[order[firsts[large]]], bounds[large]))
        groups, bounds = (np.concatenate(one) for one in zip(*found, strict=True))
        return groups, bounds

    def _shorten(self) -> None:
        """Drop what is too much."""
        windows = _Windows(*(np.concatenate(one) for one in zip(*self._parts, strict=True)))
        self._parts = []
        kept = np.zeros(len(windows.group), bool)
        for order, firsts, counts in _group_by_group(windows.group, windows.draw):
            kept[order[np.arange(len(order)) - np.repeat(firsts, counts) < _MOST]] = True
        self._parts = [windows if kept.all() else _Windows(*(one[kept] for one in windows))]
        self._n_parts = self._n_kept = int(kept.sum())


def _group_by_group(groups: np.ndarray, by: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Windows ordered by their groups, and by something within: which, where each group begins, how many it has.

    A sixteenth of the groups comes after the other, since sorting takes several times the memory.
    """
    part = (groups >> np.uint64(60)).astype(np.uint8)
    for number in range(16):
        here = np.flatnonzero(part == number)
        order = here[np.lexsort((by[here], groups[here]))]
        _, firsts, counts = np.unique(groups[order], return_index=True, return_counts=True)
        yield order, firsts, counts


def _split(columns: tuple[str, ...], of_groups: _Sample, of_whole: _Sample) -> Split:
    groups, bounds = of_groups.quantiles()
    _, whole = of_whole.quantiles()
    last = whole if len(whole) else np.full((1, 2), np.nan, np.float32)
    return Split(columns, np.append(groups, _TABLE), np.concatenate([bounds, last]))


def _groups_of(rows: pa.Table) -> np.ndarray:
    """Whose each row is, uint64 [n]: a hash, which is the same in all processes."""
    of_speaker = next((name for name in _SPEAKER if name in rows.column_names), None)
    speakers = rows[of_speaker].to_pylist() if of_speaker else [None] * len(rows)
    recordings = rows[_RECORDING].to_pylist()
    names = (
        f"{_RECORDING} {uri}" if speaker in (None, "") else f"speaker {speaker}"
        for speaker, uri in zip(speakers, recordings, strict=True)
    )
    hashes = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(hashes), np.uint64)
