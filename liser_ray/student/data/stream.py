"""Segments of a table that is too large for memory, through Ray Data.

A task reads one row group and cuts a segment out of each row; the next groups are read while the student learns. One
run of the pipeline goes through many laps, so that nothing waits between them; a new one is begun where it would have
too many tasks. The order is that of `liser_ray.student.data.order`, so that a single process sees what it would see
with the table in memory. Several processes share each lap, each with its own shuffling. Ray deals them whole blocks,
always to the one that has got least: a lap that another follows in the same run may lend it a block's rows.
"""

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import ray
import torch
from ray.data import DataContext, ExecutionOptions

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
        self._device = device
        self._chunks = _shuffled_chunks(source, start, rank, world_size, share_with_all)
        self._rows = _Buffer(self._chunks)

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next segments of this process: as many as a ``share`` of ``n`` are."""
        missing = len(range(n)[share])
        parts = [self._rows.up_to(missing)]
        while missing := missing - _length(parts[-1]):
            parts.append(self._rows.up_to(missing))
        rows = {name: np.concatenate([part[name] for part in parts]) for name in Segments._fields}
        return Segments(*(torch.from_numpy(rows[name]).to(self._device) for name in Segments._fields))

    def close(self) -> None:
        """End the pipeline."""
        self._chunks.close()


def _shuffled_chunks(
    source: StreamSource, start: int, rank: int, world_size: int, share_with_all: Callable[[Any], Any]
) -> Generator[Rows, None, None]:
    """This process's rows, shuffled in chunks, none of which reaches from one lap into the next."""
    table = source.table
    per_lap, chunk_rows = table.n_rows // world_size, max(1, SHUFFLE_ROWS // world_size)
    lap, over = divmod(start, table.n_rows)
    chunk, over = divmod(over // world_size, chunk_rows)
    place, skipped = _place_of(source, lap, chunk * chunk_rows * world_size)
    laps = max(1, _MAX_TASKS // len(table.groups))
    while True:
        splits = (
            _pipeline(source, lap, place, laps).streaming_split(world_size, equal=world_size > 1) if not rank else None
        )
        mine = share_with_all(splits)[rank]
        with closing(iter(mine.iter_batches(batch_size=cast("int", None), prefetch_batches=2))) as blocks:
            rows = _Buffer(blocks)
            rows.skip(skipped // world_size)
            for this_lap in range(lap, lap + laps):
                while chunk * chunk_rows < per_lap:
                    n_rows = min(chunk_rows, per_lap - chunk * chunk_rows)
                    yield _in_order(rows, chunk_order(n_rows, source.seed, this_lap, chunk, rank), over)
                    chunk, over = chunk + 1, 0
                chunk = 0
        lap, place, skipped = lap + laps, 0, 0


def _place_of(source: StreamSource, lap: int, row: int) -> tuple[int, int]:
    """Where in a lap's order of groups that one is which holds a row of the lap, and the row's number in it."""
    sizes = source.table.group_sizes[group_order(len(source.table.groups), source.seed, lap)]
    ends = np.cumsum(sizes)
    place = int(np.searchsorted(ends, row, side="right"))
    return place, row - int(ends[place] - sizes[place])


def _pipeline(source: StreamSource, lap: int, place: int, laps: int) -> ray.data.Dataset:
    """Segments of the groups of some laps, of the first one from a place on."""
    context = DataContext.get_current().copy()  # other pipelines of this process keep their settings
    context.enable_progress_bars = False
    context.execution_options = ExecutionOptions(preserve_order=True)
    n_groups = len(source.table.groups)
    n_tasks = laps * n_groups - place
    with DataContext.current(context):
        tasks = ray.data.range(n_tasks, override_num_blocks=n_tasks)
    return tasks.map_batches(
        functools.partial(_read_group, source=ray.put(source), first=lap * n_groups + place),
        batch_size=None,
        num_cpus=_TASK_CPUS,
    )


def _read_group(tasks: Rows, source: ray.ObjectRef, first: int) -> Iterator[Rows]:
    """Segments of the row groups that "id" counts, from the ``first`` on in the order of all laps."""
    torch.set_num_threads(1)
    what: StreamSource = ray.get(source)
    log_mel = LogMel()
    for task in tasks["id"].tolist():
        lap, place = divmod(first + task, len(what.table.groups))
        number = int(group_order(len(what.table.groups), what.seed, lap)[place])
        group = what.table.groups[number]
        places, done = crops(group.n_rows, what.seed, lap, number), 0
        for rows in read_rows(what.table, group, COLUMNS, _BATCH_ROWS):
            here = places[done : done + len(rows)]
            done += len(rows)
            segments = segments_of_rows(rows, here, what.teacher, what.labels, what.settings, log_mel)
            yield {name: tensor.numpy() for name, tensor in segments._asdict().items()}


class _Buffer:
    """Rows from an iterator of blocks, a part of a block at a time."""

    def __init__(self, blocks: Iterator[Rows]):
        self._blocks = blocks
        self._block: Rows = {}
        self._at = 0

    def up_to(self, n: int) -> Rows:
        """The next rows, at least one and at most ``n``, without a copy; of 0 rows the shapes."""
        while not self._block or (n and self._at == _length(self._block)):
            self._block, self._at = {}, 0  # its memory is free before the next one takes some
            self._block = next(self._blocks)
        rows = {name: values[self._at : self._at + n] for name, values in self._block.items()}
        self._at += _length(rows)
        return rows

    def skip(self, n: int) -> None:
        """Pass over so many rows."""
        while n:
            n -= _length(self.up_to(n))


def _in_order(rows: _Buffer, order: np.ndarray, over: int) -> Rows:
    """The next rows in this order, without the first ones that are ``over``."""
    to, done = np.argsort(order), 0
    found: Rows = {}
    while done < len(order):
        part = rows.up_to(len(order) - done)
        here = to[done : done + _length(part)]
        done += len(here)
        for name, values in part.items():
            if name not in found:
                found[name] = np.empty((len(order), *values.shape[1:]), values.dtype)
            found[name][here] = values
    return {name: values[over:] for name, values in found.items()}


def _length(rows: Rows) -> int:
    return len(rows["video_valid"])
