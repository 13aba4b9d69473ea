"""The plan: what the job will label, span by span, known before any decoding.

``<output>/plan/plan-00000.parquet`` … hold a row for each span (`liser_ray.corpora.schema.plan_schema`), those of a
recording one after the other. ``<output>/plan.json`` is written last: a plan without it was interrupted.
"""

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from liser_ray.corpora import spans
from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.probe import Probed, probe_all
from liser_ray.corpora.progress import Progress
from liser_ray.corpora.recordings import Recording, list_recordings, reachs
from liser_ray.corpora.schema import plan_schema
from liser_ray.media.outcome import Problem, Reason, Stage, Status
from liser_ray.runtime.errors import UserError
from liser_ray.runtime.redaction import redact
from liser_ray.storage.files import (
    check_writable,
    exists,
    filesystem,
    join,
    list_files,
    normalise,
    read_bytes,
    replace_parquet,
    write_bytes,
)
from liser_ray.storage.roots import roots_of

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
ROWS_PER_FILE = 250_000
_ROWS_PER_GROUP = 25_000

_FILLED = ("plan", "labels", "checkpoint", "runs")  # folders of an output
_DECIDE_ROWS = ("span_seconds", "max_pixels", "max_frame_rate_hz")  # they stay what they were

_TOO_SHORT = Problem(Stage.PLAN, Reason.TOO_SHORT, "shorter than one window of 16 frames")


@dataclass(frozen=True)
class PlanSummary:
    """What a plan holds: the content of ``plan.json``.

    Attributes:
        input_uri: what was planned.
        config: the settings it was planned with.
        recordings: how many were found; each has at least one row.
        recorded_s: their length together, of those whose header tells it.
        spans: rows; ``to_label + filtered + failed``.
        spans_to_label, to_label_s: rows without a problem, and their length together.
        filtered, failed: rows that end here already, by reason code.
        ignored_files: files of the folder that are no videos by their suffix.
        duplicates: rows of the manifest that name a recording again.
        extra_columns: names and types of the manifest's columns that are carried along.
        files: how many Parquet files there are.
    """

    input_uri: str
    config: PlanConfig
    recordings: int
    recorded_s: float
    spans: int
    spans_to_label: int
    to_label_s: float
    filtered: dict[str, int]
    failed: dict[str, int]
    ignored_files: int
    duplicates: int
    extra_columns: dict[str, str]
    files: int
    format_version: int = FORMAT_VERSION

    @property
    def hours(self) -> float:
        """Hours of video that will be labeled."""
        return self.to_label_s / 3600

    def expected_output_bytes(self, speech_teachers: int = 1) -> int:
        """About how large the labels table will be."""
        return spans.expected_output_bytes(self.to_label_s, speech_teachers)


def make_plan(input_uri: str, output_uri: str | None, config: PlanConfig) -> PlanSummary:
    """Find the recordings, read their headers, cut them into spans and write the plan.

    A plan that is already there is replaced. Memory stays bounded: recordings stream through.

    Args:
        input_uri: folder, ``s3://bucket/prefix``, one file, or a manifest; see `list_recordings`.
        output_uri: folder or prefix that gets ``plan/`` and ``plan.json``; None: only the summary (a dry run).
        config: the settings.

    Raises:
        UserError: if the input can't be listed, holds nothing, is a manifest with a column of ours or lies in a folder
            that the job fills, or the output can't be written.
    """
    if output_uri:
        _refuse_own_folders(input_uri, output_uri)
        check_writable(output_uri)
        _delete_plan(output_uri)
    roots = roots_of(input_uri, config.allowed_roots)
    listing = list_recordings(input_uri, skip_uri=output_uri, roots=roots)
    schema = plan_schema(listing.extra_schema)
    tally = _Tally()
    with ExitStack() as stack:
        writer = stack.enter_context(_PlanWriter(output_uri, schema)) if output_uri else None
        progress = stack.enter_context(Progress("recordings", listing.total))
        if progress.on_terminal and listing.total is None:
            _count_ahead(progress, input_uri, output_uri, roots)
        for probed in probe_all(listing.recordings, config, roots):
            rows = list(plan_rows(probed, config.span_seconds))
            tally.add(probed, rows)
            if writer:
                writer.write(rows)
            progress.step()
        log.info("Planned %s", progress.line())
    summary = PlanSummary(
        input_uri=normalise(input_uri),
        config=config,
        ignored_files=listing.ignored_files,
        duplicates=listing.duplicates,
        extra_columns={one.name: str(one.type) for one in listing.extra_schema},
        files=writer.files if writer else 0,
        **vars(tally),
    )
    if output_uri:
        _write_summary(output_uri, summary)
    return summary


def load_plan_summary(output_uri: str) -> PlanSummary | None:
    """The summary of the complete plan in an output folder; None if there is none, or an interrupted one."""
    uri = join(normalise(output_uri), "plan.json")
    if not exists(uri):
        return None
    values = json.loads(read_bytes(uri))
    summary = PlanSummary(**{**values, "config": PlanConfig(**values["config"])})
    fs, _ = filesystem(output_uri)
    files = _plan_files(output_uri)
    if sum(pq.read_metadata(one.path, filesystem=fs).num_rows for one in files) != summary.spans:
        return _recounted(output_uri, summary)  # a change of the plan was interrupted before it wrote its summary
    return summary


def _plan_files(output_uri: str) -> list[pafs.FileInfo]:
    return list_files(join(normalise(output_uri), "plan"), ".parquet")


def _write_summary(output_uri: str, summary: PlanSummary) -> None:
    write_bytes(join(normalise(output_uri), "plan.json"), json.dumps(asdict(summary), indent=2).encode() + b"\n")


def replan_failed(
    output_uri: str, reasons: Collection[str] | None = None, config: PlanConfig | None = None
) -> PlanSummary:
    """Probe again what could not be probed, and put what comes of it in its place in the plan.

    Args:
        output_uri: folder or prefix with a complete plan.
        reasons: codes of the failures to try again; None: all.
        config: its limits, workers and roots take the place of those that it was planned with; None: the same.

    Returns:
        The summary of the plan as it is now.

    Raises:
        UserError: if there is no plan.
    """
    summary = _planned(output_uri, config)
    roots = roots_of(summary.input_uri, summary.config.allowed_roots)
    fs, _ = filesystem(output_uri)
    n_failed = sum(n for reason, n in summary.failed.items() if reasons is None or reason in reasons)
    with Progress("failed recordings", n_failed) as progress:
        for info in _plan_files(output_uri):
            table = pq.read_table(info.path, filesystem=fs)
            again = _to_probe_again(table, reasons)
            if again:
                replace_parquet(info.path, fs, _probed_again(table, again, summary.config, roots, progress))
    return _recounted(output_uri, summary)


def extend_plan(output_uri: str, config: PlanConfig | None = None) -> PlanSummary:
    """Plan the recordings that have come into the input since, in new files beside the old ones.

    What the plan has is left alone: a recording that has been replaced since keeps its rows. Cut off in the middle, the
    files that were written count, and the next call adds the rest.

    Args:
        output_uri: folder or prefix with a complete plan.
        config: its limits, workers and roots take the place of those that it was planned with; None: the same.

    Returns:
        The summary of the plan as it is now.

    Raises:
        UserError: there is no plan, the input can't be listed, or a manifest has other columns than it had.
    """
    summary = _planned(output_uri, config)
    roots = roots_of(summary.input_uri, summary.config.allowed_roots)
    listing = list_recordings(summary.input_uri, skip_uri=output_uri, roots=roots)
    columns = {one.name: str(one.type) for one in listing.extra_schema}
    if columns != summary.extra_columns:
        raise UserError(
            f"{summary.input_uri} has other columns than when it was planned ({columns or 'none'}, "
            f"not {summary.extra_columns or 'none'}). Use another --output."
        )
    planned = _Planned(output_uri)
    with (
        _PlanWriter(output_uri, plan_schema(listing.extra_schema), len(planned.files)) as writer,
        Progress("new recordings") as progress,
    ):
        if progress.on_terminal:
            _count_ahead(progress, summary.input_uri, output_uri, roots, planned.lacks)
        for probed in probe_all(planned.new(listing.recordings), summary.config, roots):
            writer.write(plan_rows(probed, summary.config.span_seconds))
            progress.step()
    if planned.changed:
        log.warning(
            "Changed since they were planned: %s of the recordings. Their rows stay as they are; those that failed run "
            "again with --retry_failed all.",
            f"{planned.changed:,}",
        )
    extended = _recounted(
        output_uri, replace(summary, ignored_files=listing.ignored_files, duplicates=listing.duplicates)
    )
    log.info(
        "New in the plan: %s recordings, %s spans",
        f"{extended.recordings - summary.recordings:,}",
        f"{extended.spans - summary.spans:,}",
    )
    return extended


class _Planned:
    """The recordings of a plan: 16 bytes for each address and version.

    Attributes:
        files: the plan's.
        changed: recordings passed over so far that the plan has in another version.
    """

    def __init__(self, output_uri: str):
        fs, _ = filesystem(output_uri)
        self.files = _plan_files(output_uri)
        self.changed = 0
        self._addresses: set[bytes] = set()
        self._versions: set[bytes] = set()
        for info in self.files:
            table = pq.read_table(info.path, columns=["uri", "recording_id"], filesystem=fs)
            self._addresses.update(spans.address_id(uri) for uri in pc.unique(table["uri"]).to_pylist())
            self._versions.update(bytes.fromhex(one) for one in pc.unique(table["recording_id"]).to_pylist())

    def lacks(self, recording: Recording) -> bool:
        """Whether the plan has no version of a recording."""
        return spans.address_id(recording.uri) not in self._addresses

    def new(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """Those of which the plan has no version."""
        for recording in recordings:
            if self.lacks(recording):
                yield recording
                continue
            identity = spans.recording_id(recording.uri, recording.size_bytes, recording.version)
            self.changed += recording.problem is None and bytes.fromhex(identity) not in self._versions


def _planned(output_uri: str, config: PlanConfig | None) -> PlanSummary:
    """The summary of a plan that there must be, with other limits, workers and roots if they are given."""
    summary = load_plan_summary(output_uri)
    if summary is None:
        raise UserError(f"{output_uri} has no plan to go on with: plan.json is not there.")
    if config is not None:
        cut = {name: getattr(summary.config, name) for name in _DECIDE_ROWS}
        summary = replace(summary, config=replace(config, **cut))
    return summary


def _to_probe_again(table: pa.Table, reasons: Collection[str] | None) -> list[int]:
    columns = zip(*(table[name].to_pylist() for name in ("status", "stage", "reason")), strict=True)
    return [
        row
        for row, (status, stage, reason) in enumerate(columns)
        if (status, stage) == (Status.FAILED, Stage.PLAN) and (reasons is None or reason in reasons)
    ]


def _probed_again(
    table: pa.Table, again: list[int], config: PlanConfig, roots: tuple[str, ...], progress: Progress
) -> pa.Table:
    """The table of a plan with the rows that these rows' recordings have now in their places."""
    old = table.take(again)
    extras = old.select(table.schema.names[len(plan_schema()) :]).to_pylist()
    named = zip(old["uri"].to_pylist(), (tuple(extra.values()) for extra in extras), strict=True)
    kept = np.delete(np.arange(table.num_rows), again)
    parts, rows, n_fresh = [table.take(kept)], [], []
    for probed in probe_all(reachs(named, roots), config, roots):
        fresh = list(plan_rows(probed, config.span_seconds))
        n_fresh.append(len(fresh))
        rows += fresh
        if len(rows) >= _ROWS_PER_GROUP or len(n_fresh) == len(again):
            parts.append(_as_table(rows, table.schema))
            rows = []
        progress.step()
    places = np.concatenate([kept, np.repeat(again, n_fresh)])
    return pa.concat_tables(parts).take(np.argsort(places, kind="stable"))


def _recounted(output_uri: str, summary: PlanSummary) -> PlanSummary:
    """The summary with its counts taken from the plan's files; written in place of the old one."""
    fs, _ = filesystem(output_uri)
    tally = _Tally()
    columns = ["recording_id", "recording_s", "start_s", "end_s", "status", "reason"]
    files = _plan_files(output_uri)
    for info in files:
        table = pq.read_table(info.path, columns=columns, filesystem=fs)
        last = None  # a recording's rows are one after the other, in one file
        for identity, recorded_s, *span in zip(*(table[name].to_pylist() for name in columns), strict=True):
            if identity != last:
                tally.recordings += 1
                tally.recorded_s += recorded_s
            tally.count(*span)
            last = identity
    summary = replace(summary, files=len(files), **vars(tally))
    _write_summary(output_uri, summary)
    return summary


def plan_rows(probed: Probed, span_seconds: float) -> Iterator[tuple[Any, ...]]:
    """The rows of a recording, values in the order of `plan_schema`.

    A recording that can't be labeled has one, from 0 to its end (0 if that is not known).
    """
    recording, header = probed.recording, probed.header
    identity = spans.recording_id(recording.uri, recording.size_bytes, recording.version)
    duration_s = header.duration_s or 0.0 if header else 0.0
    facts = (
        (duration_s, recording.size_bytes, header.width, header.height, header.frame_rate_hz or 0.0)
        if header
        else (0.0, recording.size_bytes, 0, 0, 0.0)
    )

    def row(span_id: str, start_s: float, end_s: float, problem: Problem | None) -> tuple[Any, ...]:
        outcome = ("", "", "", "")
        if problem:
            outcome = (problem.status, problem.stage, problem.reason, redact(problem.detail))
        return (span_id, recording.uri, identity, start_s, end_s, *outcome, *facts, *recording.extra)

    if probed.problem:
        span_us = round(span_seconds * spans.MICROSECONDS)
        yield row(spans.span_id(identity, 0, span_us), 0.0, duration_s, probed.problem)
        return
    for span in spans.cut(identity, duration_s, span_seconds):
        yield row(span.span_id, span.start_s, span.end_s, _TOO_SHORT if span.too_short else None)


@dataclass
class _Tally:
    """The counts of `PlanSummary`, while they grow."""

    recordings: int = 0
    recorded_s: float = 0.0
    spans: int = 0
    spans_to_label: int = 0
    to_label_s: float = 0.0
    filtered: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, probed: Probed, rows: list[tuple[Any, ...]]) -> None:
        self.recordings += 1
        self.recorded_s += (probed.header.duration_s or 0.0) if probed.header else 0.0
        for _, _, _, start_s, end_s, status, _, reason, *_ in rows:
            self.count(start_s, end_s, status, reason)

    def count(self, start_s: float, end_s: float, status: str, reason: str) -> None:
        self.spans += 1
        if not status:
            self.spans_to_label += 1
            self.to_label_s += end_s - start_s
        else:
            by_reason = self.filtered if status == Status.FILTERED else self.failed
            by_reason[str(reason)] = by_reason.get(str(reason), 0) + 1


def _as_table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [pa.array(values, one.type) for values, one in zip(columns, schema, strict=True)], schema=schema
    )


class _PlanWriter:
    """Parquet files of about `ROWS_PER_FILE` rows; a recording's rows are all in one of them."""

    def __init__(self, output_uri: str, schema: pa.Schema, files: int = 0):
        self.files = files
        self._folder = join(normalise(output_uri), "plan")
        self._schema = schema
        self._rows: list[tuple[Any, ...]] = []
        self._in_file = 0
        self._file: pq.ParquetWriter | None = None
        self._buffer = pa.BufferOutputStream()

    def write(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._rows.extend(rows)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._file is None:
            self._buffer = pa.BufferOutputStream()
            self._file = pq.ParquetWriter(self._buffer, self._schema, compression="zstd")
        self._file.write_table(_as_table(self._rows, self._schema))
        self._in_file += len(self._rows)
        self._rows = []
        if self._in_file >= ROWS_PER_FILE:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            # Whole, since a file that is open for hours can't be begun again when the store breaks off.
            write_bytes(join(self._folder, f"plan-{self.files:05d}.parquet"), self._buffer.getvalue().to_pybytes())
            self.files += 1
        self._file, self._in_file = None, 0

    def __enter__(self) -> "_PlanWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._rows and kind is None:
            self._flush()
        self._close_file()


def _refuse_own_folders(input_uri: str, output_uri: str) -> None:
    for name in _FILLED:
        folder = join(normalise(output_uri), name)
        if f"{normalise(input_uri)}/".startswith(f"{folder}/"):
            raise UserError(f"The input {input_uri} lies in {folder}, which the job fills. Use another --output.")


def _delete_plan(output_uri: str) -> None:
    output_uri = normalise(output_uri)
    fs, mark = filesystem(join(output_uri, "plan.json"))
    if exists(join(output_uri, "plan.json")):
        fs.delete_file(mark)  # first: from here on the plan is not complete
    for old in _plan_files(output_uri):
        fs.delete_file(old.path)


def _count_ahead(
    progress: Progress,
    input_uri: str,
    output_uri: str | None,
    roots: tuple[str, ...],
    counts: Callable[[Recording], bool] = lambda _: True,
) -> None:
    """Go through the listing once more beside the probing, which is slower, for the time left."""

    def count() -> None:
        try:
            listing = list_recordings(input_uri, skip_uri=output_uri, roots=roots)
            progress.total = sum(map(counts, listing.recordings))
        except Exception as error:  # what matters of it comes up in the main pass
            log.debug("No total: %s", error)

    threading.Thread(target=count, daemon=True).start()
