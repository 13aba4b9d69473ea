"""The plan's rows, and the files that they are written to."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from liser_ray.corpora import spans
from liser_ray.corpora.probe import Probed
from liser_ray.media.outcome import Problem, Reason, Stage, Status
from liser_ray.runtime.display import Counting
from liser_ray.runtime.redaction import redact
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import write_bytes

ROWS_PER_FILE = 250_000
ROWS_PER_GROUP = 25_000

TALLIED = ["recording_id", "recording_s", "start_s", "end_s", "status", "reason"]
"""Columns that a `Tally` needs."""

_PART = "part-"
_TOO_SHORT = Problem(Stage.PLAN, Reason.TOO_SHORT, "shorter than one window of 16 frames")


def plan_rows(probed: Probed, span_seconds: float) -> Iterator[tuple[Any, ...]]:
    """The rows of a recording, values in the order of `plan_schema`.

    A recording that can't be labeled has one, from 0 to its end (0 if that is not known).
    """
    recording, header = probed.recording, probed.header
    identity = spans.recording_id(recording.uri, recording.size_bytes, recording.version, recording.segment)
    duration_s = header.duration_s or 0.0 if header else 0.0
    picture = (header.width, header.height, header.frame_rate_hz or 0.0) if header else (0, 0, 0.0)

    def row(span_id: str, start_s: float, end_s: float, problem: Problem | None) -> tuple[Any, ...]:
        outcome = ("", "", "", "")
        if problem:
            outcome = (problem.status, problem.stage, problem.reason, redact(problem.detail))
        facts = (duration_s, recording.size_bytes, *picture)
        return (span_id, recording.uri, identity, start_s, end_s, *outcome, *facts, *recording.extra)

    if probed.problem:
        span_us = round(span_seconds * spans.MICROSECONDS)
        yield row(spans.span_id(identity, 0, span_us), 0.0, duration_s, probed.problem)
        return
    for span in spans.cut(identity, duration_s, span_seconds, header.breaks_s if header else ()):
        yield row(span.span_id, span.start_s, span.end_s, _TOO_SHORT if span.too_short else None)


def part_of(path: str) -> str:
    """The part of the plan that a file of it is in."""
    return posixpath.basename(posixpath.dirname(path))


def _part_name(number: int) -> str:
    return f"{_PART}{number:05}"


@dataclass
class Tally:
    """The counts of a plan's summary, while they grow."""

    recordings: int = 0
    recorded_s: float = 0.0
    spans: int = 0
    spans_to_label: int = 0
    to_label_s: float = 0.0
    filtered: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    spans_by_part: dict[str, int] = field(default_factory=dict)

    def add(self, table: pa.Table, part: str) -> None:
        """Count rows (of which `TALLIED` is needed), those of a recording one after the other and all in one table."""
        self.spans_by_part[part] = self.spans_by_part.get(part, 0) + table.num_rows
        last = None
        for recording, recorded_s, start_s, end_s, status, reason in zip(
            *(table[name].to_pylist() for name in TALLIED), strict=True
        ):
            if recording != last:
                self.recordings += 1
                self.recorded_s += recorded_s
            last = recording
            self.spans += 1
            if not status:
                self.spans_to_label += 1
                self.to_label_s += end_s - start_s
            else:
                by_reason = self.filtered if status == Status.FILTERED else self.failed
                by_reason[reason] = by_reason.get(reason, 0) + 1


def as_table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows of `plan_rows` as a table."""
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [pa.array(values, one.type) for values, one in zip(columns, schema, strict=True)], schema=schema
    )


class PlanWriter:
    """Context: Parquet files of about `ROWS_PER_FILE` rows, a recording's rows all in one of them, and their tally.

    Args:
        output_uri: folder or prefix that gets ``plan/``; None: nothing is written.
        schema: of the rows.
        spans_per_part: a part has no more spans, but for a recording that has.
        spans_by_part: of the plan that this adds to: it begins in its last part.
        first_file: number of the first file.
    """

    def __init__(
        self,
        output_uri: str | None,
        schema: pa.Schema,
        spans_per_part: int,
        spans_by_part: Mapping[str, int] = MappingProxyType({}),
        first_file: int = 0,
    ):
        self.tally = Tally()
        self.files = 0
        self._folder = output_uri and join(absolute(output_uri), "plan")
        self._spans_per_part = spans_per_part
        self._part, self._in_part = list(spans_by_part.items())[-1] if spans_by_part else (_part_name(1), 0)
        self._schema, self._first_file = schema, first_file
        self._rows: list[tuple[Any, ...]] = []
        self._in_file = 0
        self._file: pq.ParquetWriter | None = None

    def write_all(self, recordings: Iterable[Probed], span_seconds: float, progress: Counting) -> None:
        """Cut recordings into spans and write these."""
        for probed in recordings:
            rows = list(plan_rows(probed, span_seconds))
            if self._in_part and self._in_part + len(rows) > self._spans_per_part:
                self._end_part()
            self._rows += rows
            self._in_part += len(rows)
            if len(self._rows) >= ROWS_PER_GROUP:
                self._end_group()
            progress.advance()
        self._end_group()

    def _end_part(self) -> None:
        self._end_group()
        self._end_file()
        self._part, self._in_part = _part_name(int(self._part.removeprefix(_PART)) + 1), 0

    def _end_group(self) -> None:
        if not self._rows:
            return
        table = as_table(self._rows, self._schema)
        self._rows = []
        self.tally.add(table, self._part)
        if self._folder:
            if self._file is None:
                self._buffer = pa.BufferOutputStream()
                self._file = pq.ParquetWriter(self._buffer, self._schema, compression="zstd")
            self._file.write_table(table)
            self._in_file += table.num_rows
            if self._in_file >= ROWS_PER_FILE:
                self._end_file()

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            # Whole, since a file that is open for hours can't be begun again when the store breaks off.
            name = f"plan-{self._first_file + self.files:05d}.parquet"
            write_bytes(join(str(self._folder), self._part, name), self._buffer.getvalue().to_pybytes())
            self.files += 1
        self._file, self._in_file = None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_file()  # what is whole of a plan that was cut off
