"""In which order recordings are learned from: pure functions of the seed, however the recordings are read.

The labels table is read in groups (Parquet row groups). An epoch takes the groups in random order, and shuffles the
rows that follow one another there in chunks of `SHUFFLE_ROWS`. A table of fewer rows is shuffled evenly; of a larger
one no more than a chunk is ever held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

SHUFFLE_ROWS = 8192
"""Rows shuffled among one another: 200 MB as 3-s segments."""

# What a random stream is for, so that no two have the same numbers.
_LABELED, _LABELED_CROPS, _MIXTURE, _GROUPS, _CROPS, _CHUNK, _STEP, _PLACEBO, _CLUSTERS = range(9)


class Step(NamedTuple):
    """A mini-batch.

    Attributes:
        labeled: positions in the labeled training recordings, int64 [N_l].
        n_unlabeled: how many unlabeled ones, N_u.
        lap: the pass over the labeled recordings that it is of, from 1 on.
        number: which of the pass it is, from 0 on.
    """

    labeled: np.ndarray
    n_unlabeled: int
    lap: int
    number: int


@dataclass(frozen=True)
class EpochPlan:
    """How labeled and unlabeled recordings make the mini-batches of an epoch, of ``batch_size`` at most.

    An epoch is one pass over the labeled recordings, and the unlabeled ones drawn with them. By default both are drawn
    from their union, so that an epoch passes over both. With ``labeled_per_batch`` each batch has so many labeled ones
    (or one less), and is filled up with unlabeled ones, whose own passes then begin and end at any time. Batches differ
    by one at most, so that none is tiny. Without labeled recordings an epoch is one pass over the unlabeled ones.

    With ``epoch_steps`` the batches of these passes (laps) are the same, and an epoch is so many of them, whether that
    is less or more than a lap.
    """

    n_labeled: int
    n_unlabeled: int
    batch_size: int
    labeled_per_batch: int = 0
    epoch_steps: int = 0

    @property
    def n_steps(self) -> int:
        """How many mini-batches an epoch has."""
        return self.epoch_steps or self._lap_steps

    def steps(self, seed: int, epoch: int) -> Iterator[Step]:
        """The mini-batches of an epoch, from 1 on."""
        lap_steps = max(1, self._lap_steps)
        first = (epoch - 1) * self.n_steps
        for lap in range(first // lap_steps, -(-(first + self.n_steps) // lap_steps)):
            start = max(0, first - lap * lap_steps)
            yield from islice(self._lap(seed, lap + 1), start, first + self.n_steps - lap * lap_steps)

    @property
    def _lap_steps(self) -> int:
        if self._fixed:
            return -(-self.n_labeled // self.labeled_per_batch)
        return -(-(self.n_labeled + self.n_unlabeled) // self.batch_size)

    def _lap(self, seed: int, lap: int) -> Iterator[Step]:
        """The mini-batches of a pass, from 1 on."""
        order = _rng(seed, lap, _LABELED).permutation(self.n_labeled)
        if self._fixed:
            for number, part in enumerate(_even_parts(self.n_labeled, self._lap_steps)):
                yield Step(order[part], self.batch_size - self.labeled_per_batch, lap, number)
            return
        is_labeled = np.zeros(self.n_labeled + self.n_unlabeled, bool)
        is_labeled[: self.n_labeled] = True
        _rng(seed, lap, _MIXTURE).shuffle(is_labeled)
        taken = 0
        for number, part in enumerate(_even_parts(len(is_labeled), self._lap_steps)):
            n_here = int(is_labeled[part].sum())
            yield Step(order[taken : taken + n_here], part.stop - part.start - n_here, lap, number)
            taken += n_here

    @property
    def _fixed(self) -> bool:
        return bool(self.labeled_per_batch and self.n_labeled and self.n_unlabeled)


def labeled_crops(n_labeled: int, seed: int, lap: int) -> np.ndarray:
    """Where each labeled recording's segment lies in it, float64 [n], 0..1: first to last possible place."""
    return _rng(seed, lap, _LABELED_CROPS).random(n_labeled)


def placebo_rows(n_rows: int, seed: int) -> np.ndarray:
    """Of which row each unlabeled row gets the targets as a placebo, int64 [n]: another one if there is one."""
    order, rows = _rng(seed, 0, _PLACEBO).permutation(n_rows), np.empty(n_rows, np.int64)
    rows[order] = np.roll(order, 1)  # one cycle through all rows; a permutation leaves some where they are
    return rows


def group_order(n_groups: int, seed: int, lap: int) -> np.ndarray:
    """The order of the table's groups, int64 [n], in a pass over the unlabeled rows (a lap, from 0 on)."""
    return _rng(seed, lap, _GROUPS).permutation(n_groups)


def crops(n_rows: int, seed: int, lap: int, group: int) -> np.ndarray:
    """Where each row's segment lies in it, float64 [n], for the rows of a group."""
    return _rng(seed, lap, _CROPS, group).random(n_rows)


def chunk_order(n_rows: int, seed: int, lap: int, chunk: int, rank: int = 0) -> np.ndarray:
    """The order of the rows within a chunk, int64 [n]."""
    return _rng(seed, lap, _CHUNK, chunk, rank).permutation(n_rows)


def lap_rows(group_sizes: np.ndarray, seed: int, lap: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows of a table, whose groups have int64 [G] rows, in the order of a lap.

    Returns:
        Row numbers int64 [N], from 0 on, and where the segment of each lies in it, float64 [N], 0..1.
    """
    firsts = np.cumsum(group_sizes) - group_sizes
    order = group_order(len(group_sizes), seed, lap)
    rows = np.concatenate([firsts[g] + np.arange(group_sizes[g]) for g in order])
    places = np.concatenate([crops(int(group_sizes[g]), seed, lap, int(g)) for g in order])
    for chunk, start in enumerate(range(0, len(rows), SHUFFLE_ROWS)):
        here = slice(start, start + SHUFFLE_ROWS)
        within = chunk_order(len(rows[here]), seed, lap, chunk)
        rows[here], places[here] = rows[here][within], places[here][within]
    return rows, places


def step_rng(seed: int, lap: int, step: int, rank: int) -> np.random.Generator:
    """For what is drawn in a step of a lap: masks, mixtures."""
    return _rng(seed, lap, _STEP, step, rank)


def cluster_seed(seed: int, epoch: int) -> int:
    """For the clusters of an epoch, 0..2³²-1."""
    return int(_rng(seed, epoch, _CLUSTERS).integers(2**32))


def _even_parts(n: int, n_parts: int) -> Iterator[slice]:
    """Parts of 0..n whose sizes differ by one at most."""
    for part in range(n_parts):
        yield slice(n * part // n_parts, n * (part + 1) // n_parts)


def _rng(seed: int, lap: int, what: int, *more: int) -> np.random.Generator:
    return np.random.default_rng((seed, lap, what, *more))
