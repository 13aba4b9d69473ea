"""How fast the media stage is: children that prepare spans, alone and side by side. No Ray in it."""

import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from liser_ray.calibration.sample import SampledSpan
from liser_ray.media.detector import check_detector
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError
from liser_ray.media.span import MediaConfig, SpanMedia, prepare_span

_WARM_UP_S = 1.0  # of the video: networks are loaded and compiled in it
_SPANS_PER_WORKER = 3


@dataclass(frozen=True)
class SpanRun:
    """One span that was prepared.

    Attributes:
        span: its place in the sample.
        video_s: its length.
        seconds: how long it took, all told.
        reason: why it is of no use, a reason code; "" if it is.
        peak_bytes: most memory that its child has had, imports included; 0 if the child did not live to tell.
        video_windows: windows that the video teacher is asked about.
        clip_bytes: what goes to the video teacher.
        sound_bytes: FLAC.
    """

    span: int
    video_s: float
    seconds: float
    reason: str
    peak_bytes: int = 0
    video_windows: int = 0
    clip_bytes: int = 0
    sound_bytes: int = 0


@dataclass(frozen=True)
class MediaSpeed:
    """What the media stage does on a machine.

    Attributes:
        workers: children side by side, one for each core.
        video_s_per_s: seconds of video per second of one of them.
        slowdown: how many times longer spans take side by side than by themselves, of those that were measured both
            ways: cores share caches and memory.
        span_s_p50, span_s_p95: seconds per span, side by side.
        peak_bytes: most memory that a child has had.
        runs: how many spans were prepared side by side, some of them more than once.
        spans: how many different ones were prepared.
        lost: how many of these are of no use, by reason code.
        usable_share: share of the recordings' time that goes on to the teachers.
        span_s: mean length of a span that goes on; 0 if none does.
        windows_per_span: windows that the video teacher is asked about for one that goes on.
        clip_bytes: its face clips.
        sound_bytes: its FLAC.
    """

    workers: int
    video_s_per_s: float
    slowdown: float
    span_s_p50: float
    span_s_p95: float
    peak_bytes: int
    runs: int
    spans: int
    lost: dict[str, int]
    usable_share: float
    span_s: float
    windows_per_span: float
    clip_bytes: int
    sound_bytes: int

    @property
    def video_s_per_s_alone(self) -> float:
        """Seconds of video per second of a child that has the machine to itself."""
        return self.video_s_per_s * self.slowdown


def measure_media(
    spans: Sequence[SampledSpan],
    config: MediaConfig,
    workers: int,
    limit_s: float,
    roots: tuple[str, ...] = (),
    keep: Callable[[SpanMedia], None] | None = None,
) -> list[SpanRun]:
    """Prepare spans as the labeling job does, each worker one after the other.

    Each span is prepared once, and with many workers again until each has had three. Neighbours in a recording are
    apart here, so each recording's header is read for each span.

    Args:
        spans: at least one.
        config: the media settings.
        workers: children at a time.
        limit_s: no span is begun after so many seconds, apart from one for each worker.
        roots: see `liser_ray.media.span.prepare_span`.
        keep: given each span that is of use, from several threads.

    Raises:
        UserError: the detector can't be used on this machine.
    """
    with Sandbox(workers, config.memory_mb, [__name__]) as sandbox, ThreadPoolExecutor(workers) as threads:

        def prepare(span: SampledSpan, end_s: float) -> tuple[SpanMedia, int]:
            return sandbox.call(
                prepare_and_weigh, span.uri, span.start_s, end_s, config, roots, timeout_s=config.timeout_s
            )

        def warm_up(worker: int) -> None:
            span = spans[worker % len(spans)]
            with suppress(MediaError):
                prepare(span, min(span.end_s, span.start_s + _WARM_UP_S))

        def run(number: int) -> SpanRun | None:
            if number >= workers and time.monotonic() > deadline:
                return None
            index = number % len(spans)
            span = spans[index]
            started = time.monotonic()
            try:
                media, peak_bytes = prepare(span, span.end_s)
            except MediaError as error:
                return SpanRun(index, span.video_s, time.monotonic() - started, str(error.reason))
            seconds = time.monotonic() - started
            if media.problem:
                return SpanRun(index, span.video_s, seconds, str(media.problem.reason), peak_bytes)
            if keep:
                keep(media)
            windows = int(np.count_nonzero(media.video_valid))
            return SpanRun(index, span.video_s, seconds, "", peak_bytes, windows, media.clips.nbytes, len(media.audio))

        with suppress(MediaError):  # told of the spans, if it happens again
            sandbox.call(check_detector, config.faces.detector, timeout_s=config.timeout_s)
        list(threads.map(warm_up, range(workers)))
        deadline = time.monotonic() + limit_s
        total = max(len(spans), _SPANS_PER_WORKER * workers)
        return [one for one in threads.map(run, range(total)) if one]


def prepare_and_weigh(
    uri: str, start_s: float, end_s: float, config: MediaConfig, roots: tuple[str, ...]
) -> tuple[SpanMedia, int]:
    """`prepare_span`, and the most memory that this process has had, in bytes. Runs in the child."""
    media = prepare_span(uri, start_s, end_s, config, roots)
    return media, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def media_speed(alone: Sequence[SpanRun], together: Sequence[SpanRun], workers: int) -> MediaSpeed:
    """Sum up what `measure_media` found with one worker and with many.

    Args:
        alone: at least one run.
        together: at least one run; with one worker, the same.
        workers: of ``together``.
    """
    runs = {run.span: run for run in [*alone, *together]}.values()  # each span once
    usable = [run for run in runs if not run.reason]
    video_s = sum(run.video_s for run in runs)
    seconds = [run.seconds for run in together]
    once = {run.span: run.seconds for run in alone}
    both = [(once[run.span], run.seconds) for run in together if run.span in once]
    return MediaSpeed(
        workers=workers,
        video_s_per_s=sum(run.video_s for run in together) / sum(seconds),
        slowdown=sum(beside for _, beside in both) / sum(by_itself for by_itself, _ in both) if both else 1.0,
        span_s_p50=float(np.percentile(seconds, 50)),
        span_s_p95=float(np.percentile(seconds, 95)),
        peak_bytes=max(run.peak_bytes for run in [*alone, *together]),
        runs=len(together),
        spans=len(runs),
        lost=dict(Counter(run.reason for run in runs if run.reason)),
        usable_share=sum(run.video_s for run in usable) / video_s,
        span_s=_mean([run.video_s for run in usable]),
        windows_per_span=_mean([run.video_windows for run in usable]),
        clip_bytes=round(_mean([run.clip_bytes for run in usable])),
        sound_bytes=round(_mean([run.sound_bytes for run in usable])),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
