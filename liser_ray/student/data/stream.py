"""Segments of a table that is too large for memory, through Ray Data.

A task reads one row group and cuts a segment out of each row; the next groups are read while the student learns. One
run of the pipeline goes through many laps, so that nothing waits between them; a new one is begun where it would have
too many tasks. The order is that of `liser_ray.student.data.order`, so that a single process sees what it would see
with the table in memory. Several processes have a pipeline each, for an equal part of each lap: one for all would have
to wait for the slowest of them, while that one waits for the others' gradients.
"""

import functools
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import ray
import torch
from ray.data import DataContext, ExecutionOptions

from liser_ray.runtime.errors import UserError
from liser_ray.student.data.labels_table import LabelsTable, read_rows
from liser_ray.student.data.order import SHUFFLE_ROWS, chunk_order, crops, group_order
from liser_ray.student.data.unlabeled import Segments, SegmentSettings, columns_of, segments_of_rows
from liser_ray.student.features import LogMel
from liser_ray.student.losses import SegmentTarget
from liser_ray.teachers.targets import Target

_MAX_TASKS = 4096  # of a pipeline, and a lap's: each takes a millisecond before the first one starts
_STORE_SHARE = 0.5  # of the object store, for all processes' pipelines together; Ray Data's own default for one
_BATCH_ROWS = 64
_TASK_CPUS = 1.0

Rows = dict[str, np.ndarray]
"""`Segments` as arrays: "log_mel", and of each target "values NAME" and "valid NAME"."""


@dataclass(frozen=True)
class StreamSource:
    """All that a task needs to know: a table, the targets by the student's names, the seed of order and crops."""

    table: LabelsTable
    targets: Mapping[str, Target]
    settings: SegmentSettings
    seed: int


class StreamedSegments:
    """Endless segments of a table, see `HeldSegments` for those of one in memory.

    ``start`` is how many rows this process, one of ``world_size`` that share each lap, has taken before.
    """

    def __init__(self, source: StreamSource, start: int, device: torch.device, rank: int = 0, world_size: int = 1):
        self._names, self._device = tuple(source.targets), device
        self._chunks = _shuffled_chunks(source, start, rank, world_size)
        self._rows = _Buffer(self._chunks)

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next segments of this process: as many as a ``share`` of ``n`` are."""
        rows = self._rows.take(np.arange(len(range(n)[share])))
        of = {name: torch.from_numpy(values).to(self._device) for name, values in rows.items()}
        targets = {name: SegmentTarget(of[f"values {name}"], of[f"valid {name}"]) for name in self._names}
        return Segments(of["log_mel"], targets)

    def close(self) -> None:
        """End the pipeline."""
        self._chunks.close()


class _Part(NamedTuple):
    """Labeled rows ``first`` to ``last`` - 1 of a group, in a lap."""

    lap: int
    group: int
    first: int
    last: int


def _shuffled_chunks(source: StreamSource, start: int, rank: int, world_size: int) -> Generator[Rows, None, None]:
    """This process's rows, shuffled in chunks, none of which reaches from one lap into the next."""
    per_lap, chunk_rows = source.table.n_rows // world_size, max(1, SHUFFLE_ROWS // world_size)
    if not per_lap:
        raise UserError(f"{source.table.uri} has fewer labeled rows than there are processes to learn from them.")
    lap, over = divmod(start, per_lap)
    chunk, over = divmod(over, chunk_rows)
    while True:
        parts: list[_Part] = []
        chunks: list[tuple[int, int]] = []
        while len(parts) < _MAX_TASKS:
            parts += _parts(source, lap, rank * per_lap + chunk * chunk_rows, (rank + 1) * per_lap)
            chunks += [(lap, number) for number in range(chunk, -(-per_lap // chunk_rows))]
            lap, chunk = lap + 1, 0
        # A split of one part: its tasks are then not started by this process, which has a student to train.
        (split,) = _pipeline(source, parts, world_size).streaming_split(1)
        blocks: Any = iter(split.iter_batches(batch_size=cast("int", None), prefetch_batches=2))
        with closing(blocks):  # which ends the pipeline
            rows = _Buffer(blocks)
            for of_lap, number in chunks:
                n_rows = min(chunk_rows, per_lap - number * chunk_rows)
                shuffled = rows.take(chunk_order(n_rows, source.seed, of_lap, number, rank))
                yield {name: values[over:] for name, values in shuffled.items()}
                over = 0


def _parts(source: StreamSource, lap: int, first: int, last: int) -> list[_Part]:
    """Of which groups the rows ``first`` to ``last`` - 1 of a lap are, before they are shuffled."""
    groups = group_order(len(source.table.groups), source.seed, lap)
    sizes = source.table.group_sizes[groups]
    starts = np.cumsum(sizes) - sizes
    inside = np.clip(first - starts, 0, sizes), np.clip(last - starts, 0, sizes)
    return [
        _Part(lap, *numbers)
        for numbers in zip(groups.tolist(), *(one.tolist() for one in inside), strict=True)
        if numbers[1] < numbers[2]
    ]


def _pipeline(source: StreamSource, parts: list[_Part], world_size: int) -> ray.data.Dataset:
    """Segments of these parts, in their order."""
    context = DataContext.get_current().copy()  # other pipelines of this process keep their settings
    context.enable_progress_bars = False
    context.execution_options = ExecutionOptions(preserve_order=True)
    context.override_object_store_memory_limit_fraction = _STORE_SHARE / world_size
    with DataContext.current(context):
        tasks = ray.data.range(len(parts), override_num_blocks=len(parts))
    return tasks.map_batches(
        functools.partial(_read_parts, source=ray.put(source), parts=ray.put(parts)),
        batch_size=None,
        num_cpus=_TASK_CPUS,
    )


def _read_parts(tasks: Rows, source: ray.ObjectRef, parts: ray.ObjectRef) -> Iterator[Rows]:
    """Segments of the parts whose numbers are given as "id"."""
    torch.set_num_threads(1)
    what: StreamSource = ray.get(source)
    all_parts: list[_Part] = ray.get(parts)
    log_mel, columns = LogMel(what.settings.normalisation), columns_of(what.targets.values(), what.settings)
    for number in tasks["id"].tolist():
        part = all_parts[number]
        group = what.table.groups[part.group]
        places, done = crops(group.n_rows, what.seed, part.lap, part.group), 0
        for rows in read_rows(what.table, group, columns, _BATCH_ROWS):
            here = range(max(part.first, done), min(part.last, done + len(rows)))
            if here:
                wanted = rows.slice(here.start - done, len(here))
                at = places[here.start : here.stop]
                segments = segments_of_rows(wanted, at, what.targets, what.settings, log_mel)
                found = {"log_mel": segments.log_mel}
                for name, target in segments.targets.items():
                    found |= {f"values {name}": target.values, f"valid {name}": target.valid}
                yield {name: tensor.numpy() for name, tensor in found.items()}
            done += len(rows)


class _Buffer:
    """Rows from an iterator of blocks."""

    def __init__(self, blocks: Iterator[Rows]):
        self._blocks = blocks
        self._block: Rows = {}
        self._at = 0

    def take(self, order: np.ndarray) -> Rows:
        """The next rows in this order; of no rows the shapes."""
        to, done = np.argsort(order), 0
        found: Rows = {}
        while not found or done < len(order):
            part = self._up_to(len(order) - done)
            here = to[done : done + len(part["log_mel"])]
            done += len(here)
            for name, values in part.items():
                if name not in found:
                    found[name] = np.empty((len(order), *values.shape[1:]), values.dtype)
                found[name][here] = values
        return found

    def _up_to(self, n: int) -> Rows:
        """The next rows, at least one and at most ``n``, without a copy; of 0 rows the shapes."""
        while not self._block or (n and self._at == len(self._block["log_mel"])):
            self._block, self._at = {}, 0  # its memory is free before the next one takes some
            self._block = next(self._blocks)
        rows = {name: values[self._at : self._at + n] for name, values in self._block.items()}
        self._at += len(rows["log_mel"])
        return rows
