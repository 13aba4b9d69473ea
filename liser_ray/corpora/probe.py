"""Headers read in child processes, a bounded time each, and judged: can this recording be labeled?"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TypeAlias

from joblib import cpu_count

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.recordings import Recording
from liser_ray.media.isolation import Sandbox, check_system
from liser_ray.media.outcome import MediaError, Problem, Reason, Stage
from liser_ray.media.reader import Header
from liser_ray.media.track_choice import ANY, Wanted
from liser_ray.storage.addresses import is_s3

_Headers: TypeAlias = "Future[list[Header | MediaError]]"

HEADERS_PER_S3_CALL = 8
"""On S3 nearly all of a probe is waiting, so a child reads several headers at once; on a disk that only costs."""

_CALLS_IN_FLIGHT = 256  # each holds a file descriptor
_RECORDINGS_PER_CALL = 1024  # that are segments of the same files
_problem = partial(Problem, Stage.PLAN)


@dataclass(frozen=True)
class Probed:
    """A recording with its header, or why it can't be labeled; both where the header itself is the reason."""

    recording: Recording
    header: Header | None = None  # its file's, with the length of the recording
    problem: Problem | None = None


def probe_all(
    recordings: Iterable[Recording],
    config: PlanConfig,
    roots: tuple[str, ...] = (),
    needs_video: bool = True,
    wanted: Wanted = ANY,
) -> Iterator[Probed]:
    """Every recording with its header, of the tracks that are wanted, or its problem, in the same order.

    A call that hangs or dies is done again one recording at a time, so that only the culprit fails. For ``roots`` see
    `liser_ray.storage.roots`, for ``needs_video`` `judge`. Raises a UserError if this system is not Linux.
    """
    check_system()
    workers = config.probe_workers or cpu_count()
    with Sandbox(workers, preload=[read_headers.__module__]) as sandbox:

        def submit(uris: list[str]) -> _Headers:
            if uris:
                return sandbox.submit(read_headers, uris, roots, wanted, timeout_s=config.probe_timeout_s)
            nothing: _Headers = Future()
            nothing.set_result([])
            return nothing

        for group, future in in_order(lambda group: submit(_files(group)), _groups(recordings), _CALLS_IN_FLIGHT):
            uris, calls = _files(group), [future]
            if len(uris) > 1 and future.exception():
                calls = [submit([uri]) for uri in uris]
            outcomes = dict(zip(uris, chain.from_iterable(map(_outcomes, calls)), strict=True))
            for recording in group:
                yield _judged(recording, recording.problem or outcomes[recording.uri], config, needs_video)


def judge(header: Header, config: PlanConfig, needs_video: bool = True) -> Problem | None:
    """What the header alone says against a recording, which may need pictures; None if it can be labeled."""
    if needs_video and not header.has_video:
        return _problem(*header.lacks["video"])
    if not header.has_audio:
        return _problem(*header.lacks["audio"])
    if needs_video and header.width * header.height > config.max_pixels:
        size = f"{header.width} x {header.height} pixels"
        return _problem(Reason.TOO_LARGE, f"{size}: more than max_pixels ({config.max_pixels})")
    if needs_video and header.frame_rate_hz > config.max_frame_rate_hz:
        rate = f"{header.frame_rate_hz:g} frames/s"
        return _problem(Reason.TOO_LARGE, f"{rate}: more than max_frame_rate_hz ({config.max_frame_rate_hz:g})")
    if not header.duration_s or header.duration_s < 0:
        return _problem(Reason.NO_DURATION, "the header does not tell the length, and the file is too large to search")
    if header.duration_s > config.max_recording_hours * 3600:
        length = f"{header.duration_s / 3600:.0f} hours by its header"
        return _problem(Reason.TOO_LARGE, f"{length}: more than max_recording_hours ({config.max_recording_hours:g})")
    return None


def _judged(
    recording: Recording, outcome: Header | MediaError | Problem, config: PlanConfig, needs_video: bool
) -> Probed:
    if isinstance(outcome, Header):
        header = outcome
        try:
            if header.duration_s:
                start_s, end_s = recording.segment.within(header.duration_s)
                breaks_s = tuple(at_s - start_s for at_s in header.breaks_s if start_s < at_s < end_s)
                header = replace(header, duration_s=end_s - start_s, breaks_s=breaks_s)
        except MediaError as error:
            return Probed(recording, replace(header, duration_s=0.0), _problem(error.reason, error.detail))
        return Probed(recording, header, judge(header, config, needs_video))
    if isinstance(outcome, MediaError):
        outcome = _problem(outcome.reason, outcome.detail)
    return Probed(recording, None, outcome)


def _outcomes(future: _Headers) -> list[Header | MediaError]:
    try:
        return future.result()
    except MediaError as error:
        return [error]


def _files(group: list[Recording]) -> list[str]:
    """The files to look into, each once."""
    return list(dict.fromkeys(one.uri for one in group if one.problem is None))


def _groups(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    """Recordings whose headers are read in one call: those of one file, on S3 of several."""
    group: list[Recording] = []
    uris: set[str] = set()
    for one in recordings:
        uris.add(one.uri)
        if group and (len(uris) > (HEADERS_PER_S3_CALL if is_s3(one.uri) else 1) or len(group) == _RECORDINGS_PER_CALL):
            yield group
            group, uris = [], {one.uri}
        group.append(one)
    if group:
        yield group
