"""The plan: what the job will label, span by span, known before any decoding.

``<output>/plan/part-00001/plan-00000.parquet`` … hold a row for each span (`liser_ray.corpora.schema.plan_schema`),
those of a recording one after the other. ``<output>/plan.json`` is written last: a plan without it was interrupted.
Each part is labeled by itself, with a checkpoint of its own, whose size Ray Data limits.
"""

import json
import logging
import posixpath
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from liser_ray.corpora import spans
from liser_ray.corpora.config import MOST_SPANS_PER_PART, PlanConfig
from liser_ray.corpora.labeled import input_address, input_folder
from liser_ray.corpora.plan_table import (
    ROWS_PER_GROUP,
    TALLIED,
    PlanWriter,
    Tally,
    as_table,
    part_of,
    plan_rows,
)
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.recordings import Recording, input_roots, list_recordings, reach_all
from liser_ray.corpora.schema import plan_schema
from liser_ray.corpora.segments import SEGMENT_COLUMNS, Segment
from liser_ray.media.outcome import Stage, Status
from liser_ray.media.track_choice import ANY, Wanted
from liser_ray.runtime.display import Counting
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_below, join
from liser_ray.storage.files import (
    check_writable,
    delete_file,
    exists,
    filesystem,
    list_files,
    read_bytes,
    replace_parquet,
    write_bytes,
)

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
_FILLED = ("plan", "labels", "checkpoint", "runs")  # folders of an output
_THREADS = 32  # for footers: the work is waiting for the store
_DECIDE_ROWS = ("span_seconds", "max_pixels", "max_frame_rate_hz")  # they stay what they were


@dataclass(frozen=True)
class PlanSummary:
    """What a plan holds: the content of ``plan.json``."""

    input_uri: str  # what was planned
    config: PlanConfig  # the settings it was planned with
    recordings: int  # how many were found; each has at least one row
    recorded_s: float  # their length together, of those whose header tells it
    spans: int  # rows: those to label, the filtered and the failed
    spans_to_label: int  # rows without a problem
    to_label_s: float  # their length together
    filtered: dict[str, int]  # rows that end here already, by reason code
    failed: dict[str, int]
    ignored_files: int  # files of the folder that are no videos by their suffix
    duplicates: int  # rows of the list that name a recording again
    extra_columns: dict[str, str]  # names and types of the manifest's columns that are carried along
    files: int  # how many Parquet files there are
    needs_video: bool = True  # whether recordings without pictures are of no use
    media_folder: str = ""  # absolute, where the files of the list are; "": in its own folder
    gone: int = 0  # recordings of a published list whose file is not there
    video_track: int | None = None  # that is asked for
    audio_track: int | None = None
    spans_by_part: dict[str, int] = field(default_factory=dict)  # name of each part to its rows, in order
    format_version: int = FORMAT_VERSION

    @property
    def wanted(self) -> Wanted:
        """The tracks that the headers are of."""
        return Wanted(self.video_track, self.audio_track)

    @property
    def hours(self) -> float:
        """Hours of recordings that will be labeled."""
        return self.to_label_s / 3600


def make_plan(
    input_uri: str,
    output_uri: str | None,
    config: PlanConfig,
    taken_columns: Collection[str] = (),
    needs_video: bool = True,
    media_folder: str = "",
    wanted: Wanted = ANY,
) -> PlanSummary:
    """Find the recordings, read their headers, cut them into spans and write the plan, over an old one.

    Memory stays bounded: recordings stream through.

    Args:
        input_uri: folder, ``s3://bucket/prefix``, one file, or a list; see `list_recordings`.
        output_uri: folder or prefix that gets ``plan/`` and ``plan.json``; None: only the summary (a dry run).
        config: the settings.
        taken_columns: names that a manifest's columns may not have, besides those of the plan's: labeling adds them.
        needs_video: whether recordings without pictures are of no use.
        media_folder: where the files of a list are; empty: in its own folder.
        wanted: tracks that are asked for.

    Raises:
        UserError: if the input can't be listed, holds nothing, is a manifest with a column of ours or lies in a folder
            that the job fills, or the output can't be written.
    """
    if output_uri:
        _refuse_own_folders(input_uri, output_uri)
        _clear(output_uri)
    roots = input_roots(input_uri, media_folder, config.allowed_roots)
    listed = (input_uri, output_uri, roots, needs_video, media_folder)
    listing = list_recordings(*listed)
    schema = plan_schema(listing.extra_schema, taken_columns)
    with (
        Counting("recordings planned", listing.total) as progress,
        PlanWriter(output_uri, schema, config.spans_per_part) as writer,
    ):
        if progress.on_terminal and listing.total is None:
            _count_ahead(progress, listed)
        found = probe_all(listing.recordings, config, roots, needs_video, wanted)
        writer.write_all(found, config.span_seconds, progress)
    summary = PlanSummary(
        input_uri=input_address(input_uri),
        config=config,
        ignored_files=listing.ignored_files,
        duplicates=listing.duplicates,
        extra_columns={one.name: str(one.type) for one in listing.extra_schema},
        files=writer.files,
        needs_video=needs_video,
        media_folder=media_folder and absolute(media_folder),
        gone=listing.gone,
        video_track=wanted.video,
        audio_track=wanted.audio,
        **vars(writer.tally),
    )
    if output_uri:
        _write_summary(output_uri, summary)
    return summary


def load_plan_summary(output_uri: str) -> PlanSummary | None:
    """The summary of the complete plan in an output folder; None if there is none, or an interrupted one.

    Raises:
        UserError: it is of another version of this package.
    """
    uri = join(absolute(output_uri), "plan.json")
    if not exists(uri):
        return None
    values = json.loads(read_bytes(uri))
    if values.get("format_version") != FORMAT_VERSION:
        raise UserError(f"The plan in {output_uri} is of another version of this package: label into a new --output.")
    summary = PlanSummary(**{**values, "config": PlanConfig(**values["config"])})
    if _count_parts(output_uri) != summary.spans_by_part:
        return _recounted(output_uri, summary)  # a change of the plan was interrupted before it wrote its summary
    return summary


def _count_parts(output_uri: str) -> dict[str, int]:
    """Rows of each part, from the footers of its files."""
    fs, _ = filesystem(output_uri)
    rows: Counter[str] = Counter()
    paths = _plan_paths(output_uri)
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, footer in zip(paths, pool.map(lambda one: pq.read_metadata(one, filesystem=fs), paths), strict=True):
            rows[part_of(path)] += footer.num_rows
    return dict(rows)


def _plan_paths(output_uri: str) -> list[str]:
    """Paths of the plan's files in their file system."""
    return [one.path for one in list_files(join(absolute(output_uri), "plan"), ".parquet")]


def _write_summary(output_uri: str, summary: PlanSummary) -> None:
    write_bytes(join(absolute(output_uri), "plan.json"), json.dumps(asdict(summary), indent=2).encode() + b"\n")


def copy_plan(from_uri: str, output_uri: str | None) -> PlanSummary:
    """Take over the plan of another output, whose table is the input; over an old one. None: only the summary.

    Raises:
        UserError: there is none, or this output can't be written.
    """
    summary = load_plan_summary(from_uri)
    if summary is None:
        raise UserError(f"{from_uri} has no plan.json: give the whole --output of label_corpus.py.")
    summary = replace(summary, input_uri=absolute(from_uri))
    if output_uri is None:
        return summary
    _clear(output_uri)
    fs, _ = filesystem(from_uri)
    for path in _plan_paths(from_uri):
        with fs.open_input_file(path) as file:
            copy = join(absolute(output_uri), "plan", part_of(path), posixpath.basename(path))
            write_bytes(copy, file.read())
    _write_summary(output_uri, summary)
    return summary


def _clear(output_uri: str) -> None:
    """Take away an old plan."""
    check_writable(output_uri)
    delete_file(join(absolute(output_uri), "plan.json"))  # first: from here on the plan is not complete
    for old in _plan_paths(output_uri):
        filesystem(output_uri)[0].delete_file(old)


def replan_failed(
    output_uri: str, reasons: Collection[str] | None = None, config: PlanConfig | None = None
) -> PlanSummary:
    """Probe again what could not be probed, put what comes of it in its place in the plan, and sum that up.

    Args:
        output_uri: folder or prefix with a complete plan.
        reasons: codes of the failures to try again; None: all.
        config: its limits, workers and roots take the place of those that it was planned with; None: the same.

    Raises:
        UserError: if there is no plan.
    """
    summary = _plan_to_change(output_uri, config)
    roots = input_roots(summary.input_uri, summary.media_folder, summary.config.allowed_roots)
    fs, _ = filesystem(output_uri)
    n_failed = sum(n for reason, n in summary.failed.items() if reasons is None or reason in reasons)
    with Counting("failed recordings", n_failed) as progress:
        for path in _plan_paths(output_uri):
            table = pq.read_table(path, filesystem=fs)
            columns = zip(*(table[name].to_pylist() for name in ("status", "stage", "reason")), strict=True)
            again = [
                row
                for row, (status, stage, reason) in enumerate(columns)
                if (status, stage) == (Status.FAILED, Stage.PLAN) and (reasons is None or reason in reasons)
            ]
            if again:
                replace_parquet(path, fs, _probed_again(table, again, summary, roots, progress))
    now = _recounted(output_uri, summary)
    for part, n_spans in now.spans_by_part.items():
        if n_spans > MOST_SPANS_PER_PART:
            log.warning(
                "%s of the plan has grown to %s spans, and Ray is known to hold %s when a job goes on. If that fails, "
                "label into a new --output.",
                part,
                f"{n_spans:,}",
                f"{MOST_SPANS_PER_PART:,}",
            )
    return now


def extend_plan(output_uri: str, config: PlanConfig | None = None) -> PlanSummary:
    """Plan the recordings that have come into the input since, in new files beside the old ones, and sum all up.

    What the plan has is left alone: a recording that has been replaced since keeps its rows. The last part is filled
    up, then there are new ones. Cut off in the middle, the files that were written count, and the next call adds the
    rest.

    Args:
        output_uri, config: see `replan_failed`.

    Raises:
        UserError: there is no plan, the input can't be listed, or a manifest has other columns than it had.
    """
    summary = _plan_to_change(output_uri, config)
    roots = input_roots(summary.input_uri, summary.media_folder, summary.config.allowed_roots)
    listed = (summary.input_uri, output_uri, roots, summary.needs_video, summary.media_folder)
    listing = list_recordings(*listed)
    columns = {one.name: str(one.type) for one in listing.extra_schema}
    if columns != summary.extra_columns:
        raise UserError(
            f"{summary.input_uri} has other columns than when it was planned ({columns or 'none'}, "
            f"not {summary.extra_columns or 'none'}). Use another --output."
        )
    planned = _PlannedRecordings(output_uri)
    schema = plan_schema(listing.extra_schema)
    with (
        Counting("new recordings planned") as progress,
        PlanWriter(
            output_uri, schema, summary.config.spans_per_part, summary.spans_by_part, len(planned.paths)
        ) as writer,
    ):
        if progress.on_terminal:
            _count_ahead(progress, listed, planned.lacks)
        new = probe_all(planned.new(listing.recordings), summary.config, roots, summary.needs_video, summary.wanted)
        writer.write_all(new, summary.config.span_seconds, progress)
    if planned.changed:
        log.warning(
            "Changed since they were planned: %s of the recordings. Their rows stay as they are; those that failed run "
            "again with --retry_failed all.",
            f"{planned.changed:,}",
        )
    passed_over = {name: getattr(listing, name) for name in ("ignored_files", "duplicates", "gone")}
    now = _recounted(output_uri, replace(summary, **passed_over))
    n_recordings, n_spans = now.recordings - summary.recordings, now.spans - summary.spans
    log.info("New in the plan: %s recordings, %s spans", f"{n_recordings:,}", f"{n_spans:,}")
    return now


class _PlannedRecordings:
    """The recordings of a plan: 16 bytes for each address and version."""

    def __init__(self, output_uri: str):
        fs, _ = filesystem(output_uri)
        self.paths = _plan_paths(output_uri)
        self.changed = 0  # recordings passed over so far that the plan has in another version
        self._addresses: set[bytes] = set()
        self._versions: set[bytes] = set()
        for path in self.paths:
            names = pq.read_schema(path, filesystem=fs).names
            places = [name for name in ("uri", *SEGMENT_COLUMNS) if name in names]
            table = pq.read_table(path, columns=["recording_id", *places], filesystem=fs)
            recordings = table.group_by(places).aggregate([]).to_pylist()
            self._addresses.update(spans.address_id(one["uri"], _segment_of(one)) for one in recordings)
            self._versions.update(bytes.fromhex(one) for one in pc.unique(table["recording_id"]).to_pylist())

    def lacks(self, recording: Recording) -> bool:
        """Whether the plan has no version of a recording."""
        return spans.address_id(recording.uri, recording.segment) not in self._addresses

    def new(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """Those of which the plan has no version."""
        for recording in recordings:
            if self.lacks(recording):
                yield recording
                continue
            identity = spans.recording_id(recording.uri, recording.size_bytes, recording.version, recording.segment)
            self.changed += recording.problem is None and bytes.fromhex(identity) not in self._versions


def _segment_of(row: dict[str, Any]) -> Segment:
    """Where in its file the recording of a row is."""
    start_s, end_s = (row.get(name) for name in SEGMENT_COLUMNS)
    return Segment(start_s or 0.0, end_s)


def _plan_to_change(output_uri: str, config: PlanConfig | None) -> PlanSummary:
    """The summary of a plan that there must be, with other limits, workers and roots if they are given."""
    summary = load_plan_summary(output_uri)
    if summary is None:
        raise UserError(f"{output_uri} has no plan to go on with: plan.json is not there.")
    if config is not None:
        cut = {name: getattr(summary.config, name) for name in _DECIDE_ROWS}
        summary = replace(summary, config=replace(config, **cut))
    return summary


def _probed_again(
    table: pa.Table, again: list[int], summary: PlanSummary, roots: tuple[str, ...], progress: Counting
) -> pa.Table:
    """The table of a plan with the rows that these rows' recordings have now in their places."""
    old = table.take(again)
    extras = old.select(table.schema.names[len(plan_schema()) :]).to_pylist()
    of_files = zip(old["uri"].to_pylist(), extras, strict=True)
    named = ((uri, _segment_of(extra), tuple(extra.values())) for uri, extra in of_files)
    kept = np.delete(np.arange(table.num_rows), again)
    parts, rows, n_fresh = [table.take(kept)], [], []
    for probed in probe_all(reach_all(named, roots), summary.config, roots, summary.needs_video, summary.wanted):
        fresh = list(plan_rows(probed, summary.config.span_seconds))
        n_fresh.append(len(fresh))
        rows += fresh
        if len(rows) >= ROWS_PER_GROUP or len(n_fresh) == len(again):
            parts.append(as_table(rows, table.schema))
            rows = []
        progress.advance()
    places = np.concatenate([kept, np.repeat(again, n_fresh)])
    return pa.concat_tables(parts).take(np.argsort(places, kind="stable"))


def _recounted(output_uri: str, summary: PlanSummary) -> PlanSummary:
    """The summary with its counts taken from the plan's files; written in place of the old one."""
    fs, _ = filesystem(output_uri)
    tally = Tally()
    paths = _plan_paths(output_uri)
    for path in paths:
        tally.add(pq.read_table(path, columns=TALLIED, filesystem=fs), part_of(path))
    summary = replace(summary, files=len(paths), **vars(tally))
    _write_summary(output_uri, summary)
    return summary


def _refuse_own_folders(input_uri: str, output_uri: str) -> None:
    for name in _FILLED:
        folder = join(absolute(output_uri), name)
        if is_below(input_folder(input_uri), folder):
            raise UserError(f"The input {input_uri} lies in {folder}, which the job fills. Use another --output.")


def _count_ahead(
    progress: Counting,
    listed: tuple[str, str | None, tuple[str, ...], bool, str],
    counts: Callable[[Recording], bool] = lambda _: True,
) -> None:
    """Go through a listing (arguments of `list_recordings`) once more beside the slower probing, for the time left."""

    def count() -> None:
        try:
            progress.total = sum(map(counts, list_recordings(*listed).recordings))
        except Exception as error:  # what matters of it comes up in the main pass
            log.debug("No total: %s", error)

    threading.Thread(target=count, daemon=True).start()
