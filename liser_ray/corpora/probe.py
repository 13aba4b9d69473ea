"""Headers read in child processes, a bounded time each, and judged: can this recording be labeled?"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeAlias

from joblib import cpu_count

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.recordings import Recording
from liser_ray.media.isolation import Sandbox, check_system
from liser_ray.media.outcome import MediaError, Problem, Reason, Stage
from liser_ray.media.reader import Header
from liser_ray.storage.addresses import is_s3

_Headers: TypeAlias = "Future[list[Header | MediaError]]"

HEADERS_PER_S3_CALL = 8
"""On S3 nearly all of a probe is waiting, so a child reads several headers at once; on a disk that only costs."""

_CALLS_IN_FLIGHT = 256  # each holds a file descriptor


@dataclass(frozen=True)
class Probed:
    """A recording with its header, or why it can't be labeled; both where the header itself is the reason."""

    recording: Recording
    header: Header | None = None
    problem: Problem | None = None


def probe_all(
    recordings: Iterable[Recording], config: PlanConfig, roots: tuple[str, ...] = (), needs_video: bool = True
) -> Iterator[Probed]:
    """Every recording with its header or its problem, in the same order; ``needs_video``: see `judge`.

    A call that hangs or dies is done again one recording at a time, so that only the culprit fails. For ``roots`` see
    `liser_ray.storage.roots`. Raises a UserError if this system is not Linux.
    """
    check_system()
    workers = config.probe_workers or cpu_count()
    with Sandbox(workers, preload=[read_headers.__module__]) as sandbox:

        def submit(group: list[Recording]) -> _Headers:
            uris = [one.uri for one in group if one.problem is None]
            if uris:
                return sandbox.submit(read_headers, uris, roots, timeout_s=config.probe_timeout_s)
            nothing: _Headers = Future()
            nothing.set_result([])
            return nothing

        for group, future in in_order(submit, _groups(recordings), _CALLS_IN_FLIGHT):
            calls = [future]
            if len(group) > 1 and future.exception():
                calls = [submit([one]) for one in group if one.problem is None]
            outcomes = chain.from_iterable(map(_outcomes, calls))
            for recording in group:
                yield _judged(recording, recording.problem or next(outcomes), config, needs_video)


def judge(header: Header, config: PlanConfig, needs_video: bool = True) -> Problem | None:
    """What the header alone says against a recording, which may need pictures; None if it can be labeled."""

    def problem(reason: Reason, detail: str) -> Problem:
        return Problem(Stage.PLAN, reason, detail)

    if needs_video and not header.has_video:
        return problem(Reason.NO_VIDEO, "no video track")
    if not header.has_audio:
        return problem(Reason.NO_AUDIO, "no audio track")
    if header.width * header.height > config.max_pixels:
        size = f"{header.width} x {header.height} pixels"
        return problem(Reason.TOO_LARGE, f"{size}: more than max_pixels ({config.max_pixels})")
    if header.frame_rate_hz > config.max_frame_rate_hz:
        rate = f"{header.frame_rate_hz:g} frames/s"
        return problem(Reason.TOO_LARGE, f"{rate}: more than max_frame_rate_hz ({config.max_frame_rate_hz:g})")
    if not header.duration_s or header.duration_s < 0:
        return problem(Reason.NO_DURATION, "the header does not tell the length, and the file is too large to search")
    if header.duration_s > config.max_recording_hours * 3600:
        length = f"{header.duration_s / 3600:.0f} hours by its header"
        return problem(Reason.TOO_LARGE, f"{length}: more than max_recording_hours ({config.max_recording_hours:g})")
    return None


def _judged(
    recording: Recording, outcome: Header | MediaError | Problem, config: PlanConfig, needs_video: bool
) -> Probed:
    if isinstance(outcome, Header):
        return Probed(recording, outcome, judge(outcome, config, needs_video))
    if isinstance(outcome, MediaError):
        outcome = Problem(Stage.PLAN, outcome.reason, outcome.detail)
    return Probed(recording, None, outcome)


def _outcomes(future: _Headers) -> list[Header | MediaError]:
    try:
        return future.result()
    except MediaError as error:
        return [error]


def _groups(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    """Recordings whose headers are read in one call."""
    iterator = iter(recordings)
    for first in iterator:
        yield [first, *islice(iterator, HEADERS_PER_S3_CALL - 1)] if is_s3(first.uri) else [first]
