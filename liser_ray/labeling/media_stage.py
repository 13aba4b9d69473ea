"""The first stage of the pipeline: spans of the plan become sound and face clips."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from liser_ray.corpora.manifest import TEXT
from liser_ray.corpora.segments import SEGMENT_COLUMNS
from liser_ray.corpora.spans import is_whole
from liser_ray.labeling.progress import Work
from liser_ray.labeling.schema import (
    CLIPS,
    ON_THE_WAY,
    TRANSCRIPT,
    bytes_column,
    empty_column,
    ending,
    list_column,
    one_line,
)
from liser_ray.media.detector import check_detector
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Problem, Stage
from liser_ray.media.reader import MAX_PIXELS
from liser_ray.media.span import MediaConfig, Needs, SpanMedia, prepare_span

_TEXT_OF_MORE = "the list's text is of the whole recording, of which this is a span: not its transcript"


class MediaStage:
    """Actor: decodes spans in a child process and adds sound, clips and what is known of the face and the speech."""

    _is_checked = False

    def __init__(
        self,
        schema: pa.Schema,
        count: Callable[[Work], None],
        config: MediaConfig,
        needs: Needs,
        roots: tuple[str, ...] = (),
        max_pixels: int = MAX_PIXELS,
    ):
        """Start the child process; the schema is of the labels table, ``count`` gets the work on each span."""
        self._config, self._needs, self._max_pixels = config, needs, max_pixels
        self._count = count
        self._schema = schema
        self._roots = roots
        self._sandbox = Sandbox(memory_mb=config.memory_mb, preload=[prepare_span.__module__])

    def __call__(self, spans: pa.Table) -> Iterator[pa.Table]:
        """One table per span, as soon as it is ready: a span's clips are about 36 MB.

        Raises:
            UserError: the detector can't be used on this machine, so that every span would fail.
        """
        if self._needs.clips and not self._is_checked:
            # Not in the constructor: Ray would make an error of its own from the one raised there. What else happens to
            # the child than a UserError becomes the spans' problem, if it happens again.
            with contextlib.suppress(MediaError):
                self._sandbox.call(check_detector, self._config.faces.detector, timeout_s=self._config.timeout_s)
            self._is_checked = True
        for span in spans.to_pylist():
            yield self._prepare(span)

    def _prepare(self, span: dict[str, Any]) -> pa.Table:
        if span["status"]:
            return self._row(span, None, None)
        started = time.monotonic()
        media: SpanMedia | None = None
        language = str(span.get("language") or "")  # a column of the manifest
        where = (span["uri"], *_in_file_s(span))
        wanted = (self._config, self._needs, self._roots, language, self._max_pixels)
        try:
            media = self._sandbox.call(prepare_span, *where, *wanted, timeout_s=self._config.timeout_s)
            problem = media.problem
        except MediaError as error:
            problem = Problem(Stage.MEDIA, error.reason, error.detail)
        self._count(Work(1, int(problem is not None), time.monotonic() - started))
        return self._row(span, media, problem)

    def _row(self, span: dict[str, Any], media: SpanMedia | None, problem: Problem | None) -> pa.Table:
        values: dict[str, pa.Array] = {}
        schema = pa.schema([*self._schema, *ON_THE_WAY], self._schema.metadata)
        text = " ".join(str(span.get(TEXT) or "").split())
        of_more = not is_whole(span["start_s"], span["end_s"], span["recording_s"])
        values[TRANSCRIPT.name] = pa.array(["" if of_more else text], pa.string())
        if media:
            # Of a span that not all that is required covers, the row is the part that it does.
            start_s, end_s = _in_file_s(span)
            cut = {
                "start_s": span["start_s"] + (media.start_s - start_s),
                "end_s": span["end_s"] + (media.end_s - end_s),
            }
            notes = (media.note, _TEXT_OF_MORE if text and of_more and TRANSCRIPT.name in schema.names else "")
            span = {**span, **cut, "detail": one_line("; ".join(filter(None, notes)))}
            for name in ("audio", "speech_fraction", "other_faces", "content_hash"):
                values[name] = pa.array([getattr(media, name)], schema.field(name).type)
            for name in ("clip_start_s", "clip_valid", "face_box", "speech"):
                values[name] = list_column([getattr(media, name)], schema.field(name).type)
            values[CLIPS.name] = bytes_column(media.clips)
        if problem:
            span = {**span, **ending(problem)}
        for one in schema:
            if one.name not in values:
                known = one.name in span
                values[one.name] = pa.array([span[one.name]], one.type) if known else empty_column(one.type, 1)
        return pa.Table.from_arrays([values[name] for name in schema.names], schema=schema)


def _in_file_s(span: dict[str, Any]) -> tuple[float, float]:
    """Start and end in the file, of which the recording may be a segment."""
    segment_s = span.get(SEGMENT_COLUMNS[0]) or 0.0
    return segment_s + span["start_s"], segment_s + span["end_s"]
