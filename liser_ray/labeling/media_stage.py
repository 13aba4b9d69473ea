"""The first stage of the pipeline: spans of the plan become sound and face clips."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from liser_ray.labeling.meter import Tell, Work, untold
from liser_ray.labeling.rows import outcome
from liser_ray.labeling.schema import CLIPS, bytes_column, empty_column, list_column
from liser_ray.media.detector import check_detector
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Problem, Stage
from liser_ray.media.span import MediaConfig, SpanMedia, prepare_span


class MediaStage:
    """Actor: decodes spans in a child process and adds sound, clips and what the media tell."""

    _is_checked = False

    def __init__(self, config: MediaConfig, schema: pa.Schema, roots: tuple[str, ...] = (), tell: Tell = untold):
        self._config = config
        self._tell = tell
        self._schema = schema
        self._roots = roots
        self._sandbox = Sandbox(memory_mb=config.memory_mb, preload=[prepare_span.__module__])

    def __call__(self, spans: pa.Table) -> Iterator[pa.Table]:
        """One table per span, as soon as it is ready: a span's clips are about 70 MB.

        Raises:
            UserError: the detector can't be used on this machine, so that every span would fail.
        """
        if not self._is_checked:
            self._check_machine()
            self._is_checked = True
        for span in spans.to_pylist():
            yield self._prepare(span)

    def _check_machine(self) -> None:
        # Not in the constructor: Ray would make an error of its own from the one raised there. What else happens to the
        # child than a UserError is told of the spans, if it happens again.
        with contextlib.suppress(MediaError):
            self._sandbox.call(check_detector, self._config.faces.detector, timeout_s=self._config.timeout_s)

    def _prepare(self, span: dict[str, Any]) -> pa.Table:
        media: SpanMedia | None = None
        problem: Problem | None = None
        if not span["status"]:
            started = time.monotonic()
            try:
                media = self._sandbox.call(
                    prepare_span,
                    span["uri"],
                    span["start_s"],
                    span["end_s"],
                    self._config,
                    self._roots,
                    timeout_s=self._config.timeout_s,
                )
                problem = media.problem
            except MediaError as error:
                problem = Problem(Stage.MEDIA, error.reason, error.detail)
            self._tell(Work(1, int(problem is not None), time.monotonic() - started))
        return self._row(span, media, problem)

    def _row(self, span: dict[str, Any], media: SpanMedia | None, problem: Problem | None) -> pa.Table:
        values: dict[str, pa.Array] = {}
        if media:
            values = {
                "audio": pa.array([media.audio], pa.binary()),
                "speech_fraction": pa.array([media.speech_fraction], pa.float32()),
                "video_start_s": list_column([media.video_start_s], self._schema.field("video_start_s").type),
                "video_valid": list_column([media.video_valid], self._schema.field("video_valid").type),
                "face_box": list_column([media.face_box], self._schema.field("face_box").type),
                "other_faces": pa.array([media.other_faces], pa.float32()),
                "content_hash": pa.array([media.content_hash], pa.string()),
                CLIPS.name: bytes_column([media.clips]),
            }
        if problem:
            span = {**span, **outcome(problem)}
        columns = []
        for one in [*self._schema, CLIPS]:
            if one.name in values:
                columns.append(values[one.name])
            elif one.name in span:
                columns.append(pa.array([span[one.name]], one.type))
            else:
                columns.append(empty_column(one.type, 1))
        return pa.Table.from_arrays(columns, schema=self._schema.append(CLIPS))
