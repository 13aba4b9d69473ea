"""Segments of a table that is too large for memory, through Ray Data.

A task reads one row group, cuts a segment out of each row, and gives them on a few at a time; the next ones are read
while the student learns. One run of the pipeline goes through many laps, so that nothing waits between them; a new one
is begun where it would have too many tasks. The order is that of `liser_ray.student.data.order`, so that a single
process sees what it would see with the table in memory. Several processes share each lap, each with its own shuffling.
"""

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import ray
import torch
from ray.data import DataContext, DataIterator, ExecutionOptions

from liser_ray.student.data.labels_table import LabelsTable, SpeechTeacher, read_rows
from liser_ray.student.data.order import SHUFFLE_ROWS, chunk_order, crops, group_order
from liser_ray.student.data.unlabeled import COLUMNS, Segments, SegmentSettings, segments_of_rows
from liser_ray.student.features import LogMel

_MAX_TASKS = 4096  # of a pipeline: each takes the driver a millisecond before the first one starts
_BATCH_ROWS = 64
_TASK_CPUS = 1.0

Rows = dict[str, np.ndarray]
"""The fields of `Segments` as arrays."""


@dataclass(frozen=True)
class StreamSource:
    """All that a task needs to know.

    Attributes:
        table: to read.
        teacher: whose softmaxes are wanted.
        labels: of the student, in order.
        settings: of the segments.
        seed: of the order and the crops.
    """

    table: LabelsTable
    teacher: SpeechTeacher
    labels: tuple[str, ...]
    settings: SegmentSettings
    seed: int


class StreamedSegments:
    """Endless segments of a table, see `HeldSegments` for those of one in memory.

    Args:
        source: the table and what is wanted of it.
        start: rows of laps that are over, over all processes.
        device: for the segments.
        rank, world_size: of this process, and how many share each lap.
        share_with_all: gives the first process's value to all, a collective operation; for one process, itself.
    """

    def __init__(
        self,
        source: StreamSource,
        start: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        share_with_all: Callable[[Any], Any] = lambda value: value,
    ):
        self._source, self._device = source, device
        self._rank, self._world_size, self._share_with_all = rank, world_size, share_with_all
        lap, skip = divmod(start, source.table.n_rows)
        self._chunks_to_come = self._endless(lap)
        self._rows = _Buffer(self._chunks_to_come)
        if skip:
            self._rows.take(skip // world_size)

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next segments of this process: as many as a ``share`` of ``n`` are."""
        rows = self._rows.take(len(range(n)[share]))
        return Segments(*(torch.from_numpy(rows[name]).to(self._device) for name in Segments._fields))

    def close(self) -> None:
        """End the pipeline."""
        self._chunks_to_come.close()

    def _endless(self, lap: int) -> Generator[Rows, None, None]:
        """Shuffled chunks, from a lap on."""
        n_groups = len(self._source.table.groups)
        laps = max(1, _MAX_TASKS // n_groups)
        while True:
            if self._rank == 0:
                splits: Any = self._pipeline(lap, laps).streaming_split(self._world_size, equal=self._world_size > 1)
            else:
                splits = None
            (mine,) = self._share_with_all(splits)[self._rank : self._rank + 1]
            yield from self._chunks(mine, lap, laps)
            lap += laps

    def _pipeline(self, lap: int, laps: int) -> ray.data.Dataset:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options = ExecutionOptions(preserve_order=True)
        n_tasks = laps * len(self._source.table.groups)
        tasks = ray.data.range(n_tasks, override_num_blocks=n_tasks)
        return tasks.map_batches(
            functools.partial(_read_group, source=ray.put(self._source), lap=lap),
            batch_size=None,
            zero_copy_batch=True,
            num_cpus=_TASK_CPUS,
        )

    def _chunks(self, mine: DataIterator, lap: int, laps: int) -> Iterator[Rows]:
        """Shuffle this process's rows in chunks; none reaches from one lap into the next."""
        per_lap = self._source.table.n_rows // self._world_size
        chunk_rows = max(1, SHUFFLE_ROWS // self._world_size)
        rows = _Buffer(mine.iter_batches(batch_size=cast("int", None), prefetch_batches=2))
        for this_lap in range(lap, lap + laps):
            for chunk, first in enumerate(range(0, per_lap, chunk_rows)):
                found = rows.take(min(chunk_rows, per_lap - first))
                order = chunk_order(len(found["video_valid"]), self._source.seed, this_lap, chunk, self._rank)
                yield {name: values[order] for name, values in found.items()}


class _Buffer:
    """Rows from an iterator of blocks, as many as are wanted at a time."""

    def __init__(self, blocks: Iterable[Rows]):
        self._blocks = iter(blocks)
        self._waiting: list[Rows] = []

    def take(self, n: int) -> Rows:
        while not self._waiting or sum(len(block["video_valid"]) for block in self._waiting) < n:
            self._waiting.append(next(self._blocks))
        joined = {name: np.concatenate([block[name] for block in self._waiting]) for name in Segments._fields}
        self._waiting = [{name: values[n:] for name, values in joined.items()}]
        return {name: values[:n] for name, values in joined.items()}


def _read_group(tasks: Rows, source: ray.ObjectRef, lap: int) -> Iterator[Rows]:
    """Segments of the row groups whose places in the pipeline's laps are given as "id"."""
    torch.set_num_threads(1)
    what: StreamSource = ray.get(source)
    log_mel = LogMel()
    for task in tasks["id"].tolist():
        this_lap, place = lap + task // len(what.table.groups), task % len(what.table.groups)
        number = int(group_order(len(what.table.groups), what.seed, this_lap)[place])
        group = what.table.groups[number]
        places, done = crops(group.n_rows, what.seed, this_lap, number), 0
        for rows in read_rows(what.table, group, COLUMNS, _BATCH_ROWS):
            here = places[done : done + len(rows)]
            done += len(rows)
            segments = segments_of_rows(rows, here, what.teacher, what.labels, what.settings, log_mel)
            yield {name: tensor.numpy() for name, tensor in segments._asdict().items()}
