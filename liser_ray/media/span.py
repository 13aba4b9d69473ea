"""The media stage for one span: from the address of a recording to sound and face clips.

`prepare_span` runs inside a child process (`liser_ray.media.isolation`), which may crash, hang or swell over its memory
limit without hurting anything but this span.
"""

import math
import time
from dataclasses import dataclass, field, replace

import av
import numpy as np

from liser_ray.media import still
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.clips import WINDOW_CELLS
from liser_ray.media.content_hash import digest
from liser_ray.media.faces import NO_FACES, FaceConfig, SpanFaces, find_faces
from liser_ray.media.flac import encode_flac
from liser_ray.media.outcome import MediaError, Problem, Reason, Stage, no_speech
from liser_ray.media.reader import MAX_PIXELS, Reader
from liser_ray.media.speech import speech_stretches
from liser_ray.media.stream import SpanStream
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.media.track_choice import Wanted
from liser_ray.runtime.errors import UserError


@dataclass(frozen=True)
class MediaConfig:
    """What is taken from a span, and what it may cost.

    Attributes:
        faces: how the face is found and cut out.
        min_speech_fraction: a span with less of its time judged speech (Silero VAD, 0 to 1) is filtered as no_speech.
        max_other_faces: a span that shows a second face in more of its frames (0 to 1) is filtered as two_faces.
        video_track: which of a recording's video tracks is used, counted from 0 as FFmpeg's v:0; none given: the one
            with the default flag, else the first that can be decoded.
        audio_track: likewise of its sound tracks (a:0); none given: of those that are not silent the one with the
            default flag, else the one in the language of the manifest's column language, else the first.
        timeout_s: wall-clock limit for one span, in seconds.
        memory_mb: memory limit of the child process that decodes, in MiB.
    """

    faces: FaceConfig = field(default_factory=FaceConfig)
    min_speech_fraction: float = 0.05
    max_other_faces: float = 0.5
    video_track: int | None = None
    audio_track: int | None = None
    timeout_s: float = 120.0
    memory_mb: int = 2048

    def __post_init__(self) -> None:
        for name in ("min_speech_fraction", "max_other_faces"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}: give a share between 0 and 1.")
        for name in ("timeout_s", "memory_mb"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}: give a number above 0.")
        for name in ("video_track", "audio_track"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: the first is 0.")

    def wanted(self, language: str = "") -> Wanted:
        """The tracks that are asked for."""
        return Wanted(self.video_track, self.audio_track, language)


@dataclass(frozen=True)
class Needs:
    """What of a span goes to teachers, and without what it is of no use.

    Attributes:
        clips: whether faces are looked for and cut out; else no picture is decoded.
        face: whether a span without one followed face is filtered.
        speech: whether a span without speech is filtered.
    """

    clips: bool = True
    face: bool = True
    speech: bool = True


@dataclass(frozen=True)
class SpanMedia(SpanFaces):
    """A span as the teachers need it: its face clips, and its sound.

    Attributes:
        clips: as in `SpanFaces`; none of them if there is a problem.
        audio: FLAC, 16 kHz mono 16 bit; empty if there is a problem.
        speech: where stretches of speech begin and end, int32 [S, 2], in samples of the sound.
        speech_fraction: share of the time that is speech.
        content_hash: of the sound and, where they are looked for, of the clips, see `digest`; empty if there is a
            problem.
        problem: why the span is of no use, None if it is.
        start_s, end_s: of the part that all that is required covers, in seconds of the recording; the times of clips
            and speech count from there.
        note: what is not usual, else "": which of them reach how far, if that is less than the span, which track was
            taken, colours converted ...
    """

    audio: bytes
    speech: np.ndarray
    speech_fraction: float
    content_hash: str
    problem: Problem | None
    start_s: float
    end_s: float
    note: str = ""


_SLACK_S = 0.1  # so unlike in length are the tracks of nearly any file
_SECOND_TRY_WITHIN_S = 20.0
_LACKING = frozenset({Reason.NO_VIDEO, Reason.TOO_LARGE, Reason.CORRUPT, Reason.NO_DECODER})
"""Why there are no pictures: where no face is required, the sound is of use without them."""
# Spans of one recording follow each other: it is opened once.
_open_reader: tuple[tuple[str, Wanted], Reader] | None = None


def prepare_span(
    uri: str,
    start_s: float,
    end_s: float,
    config: MediaConfig,
    needs: Needs,
    roots: tuple[str, ...] = (),
    language: str = "",
    max_pixels: int = MAX_PIXELS,
) -> SpanMedia:
    """Decode a span of a local or S3 recording, follow its face, cut the clips, and measure its speech.

    Times are in seconds from the recording's start. For ``roots`` see `liser_ray.storage.roots`, for ``language``
    `Wanted`, for ``max_pixels`` `Reader`.

    Raises:
        MediaError: the span can't be had, with a reason code.
    """
    key, started = (uri, config.wanted(language)), time.monotonic()
    kept = _open_reader is not None and _open_reader[0] == key
    try:
        return _prepare(_reader(*key, roots, max_pixels), start_s, end_s, config, needs)
    except Exception as error:
        _close_reader()  # it remembers a failed read, and has the keys to the store that it was opened with
        refused = isinstance(error, MediaError) and error.reason in (Reason.DENIED, Reason.READ_ERROR)
        # Expired keys are refused at once; after a long silence of the store there is no time for a second one.
        if kept and refused and time.monotonic() - started < _SECOND_TRY_WITHIN_S:
            return prepare_span(uri, start_s, end_s, config, needs, roots, language, max_pixels)
        if isinstance(error, av.FFmpegError) and not isinstance(error, MemoryError):
            raise MediaError(Reason.CORRUPT, f"can't be decoded: {error}") from error
        raise


def _prepare(reader: Reader, start_s: float, end_s: float, config: MediaConfig, needs: Needs) -> SpanMedia:
    stream = reader.span(start_s, end_s)
    found, without_pictures = _faces(stream, config, needs)
    pcm = stream.pcm()
    first, end = common_cells(*stream.covered_s(needs.face), stream.n_cells)
    start_s, end_s, notes = stream.start_s, stream.end_s, [reader.note, stream.note, without_pictures]
    if (first, end) != (0, stream.n_cells):
        notes.append(stream.reach())
        if end - first < WINDOW_CELLS:
            raise MediaError(Reason.TOO_SHORT, f"less than one window has all that is required: {notes[-1]}")
        found = found.part(first, end)
        pcm = pcm[round(first / FRAME_RATE_HZ * SAMPLE_RATE_HZ) : round(end / FRAME_RATE_HZ * SAMPLE_RATE_HZ)]
        if end < stream.n_cells:
            end_s = start_s + end / FRAME_RATE_HZ
        start_s += first / FRAME_RATE_HZ
    stretches = speech_stretches(pcm)
    spoken = float((stretches[:, 1] - stretches[:, 0]).sum() / len(pcm)) if len(pcm) else 0.0
    problem = None
    moves = still.motion(found.clips[found.clip_valid == 1])
    is_still = moves is not None and moves < still.MIN_MOTION
    stillness = f"a photograph: the face moves by {moves or 0:.3f}, people by {still.MIN_MOTION} and more"
    if needs.face and found.other_faces > config.max_other_faces:
        problem = Problem(Stage.MEDIA, Reason.TWO_FACES, f"a second face in {found.other_faces:.0%} of the frames")
    elif needs.face and not found.clip_valid.any():
        problem = Problem(Stage.MEDIA, Reason.NO_FACE, "no window shows one followed face")
    elif needs.speech and spoken < config.min_speech_fraction:
        problem = no_speech(spoken)
    elif needs.face and is_still:
        problem = Problem(Stage.MEDIA, Reason.STILL_FACE, stillness)
    elif is_still:
        found = replace(found, clip_valid=np.zeros_like(found.clip_valid))
        notes.append(stillness)
    note = "; ".join(filter(None, notes))
    if problem:
        found = replace(found, clips=found.clips[:0])
        problem = replace(problem, detail="; ".join(filter(None, (problem.detail, note))))
    return SpanMedia(
        **vars(found),
        audio=b"" if problem else encode_flac(pcm),
        speech=stretches,
        speech_fraction=spoken,
        content_hash="" if problem else digest(pcm) + (digest(found.clips) if needs.clips else ""),
        problem=problem,
        start_s=start_s,
        end_s=end_s,
        note=note,
    )


def _faces(stream: SpanStream, config: MediaConfig, needs: Needs) -> tuple[SpanFaces, str]:
    """What a span's pictures show, and why there are none where none are required."""
    if not needs.clips:
        return NO_FACES, ""
    try:
        return find_faces(stream, stream.n_cells, config.faces), ""
    except MediaError as error:
        if needs.face or error.reason not in _LACKING:
            raise
        return find_faces((), stream.n_cells, config.faces), error.detail


def common_cells(start_s: float, end_s: float, n_cells: int) -> tuple[int, int]:
    """First cell and end of the part of a span that is labeled, where all that is required covers it at once.

    At an end of the span, a tenth of a second may lack. The part begins with a window of the span's.
    """
    first, end = 0, n_cells
    if start_s > _SLACK_S:
        first = math.ceil(start_s * FRAME_RATE_HZ / WINDOW_CELLS - 1e-6) * WINDOW_CELLS
    if end_s < n_cells / FRAME_RATE_HZ - _SLACK_S:
        end = math.floor(end_s * FRAME_RATE_HZ + 1e-6)
    return first, end


def _reader(uri: str, wanted: Wanted, roots: tuple[str, ...], max_pixels: int) -> Reader:
    global _open_reader
    if _open_reader is None or _open_reader[0] != (uri, wanted):
        _close_reader()
        _open_reader = ((uri, wanted), Reader(uri, max_pixels, roots, wanted))
    return _open_reader[1]


def _close_reader() -> None:
    global _open_reader
    opened, _open_reader = _open_reader, None
    if opened:
        opened[1].close()
