"""How a span can end: the closed lists of statuses, stages and reason codes of the labels table."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What became of a span."""

    LABELED = "labeled"
    FILTERED = "filtered"  # nothing wrong with it, but of no use: no face, no speech, ...
    FAILED = "failed"


class Stage(StrEnum):
    """Where a span that is not labeled came to its end; after these it is the teacher, by its name."""

    PLAN = "plan"
    MEDIA = "media"


class Reason(StrEnum):
    """Why a span is not labeled. docs/table.md explains each code in one line."""

    # filtered
    NO_AUDIO = "no_audio"  # the recording has no audio track
    NO_VIDEO = "no_video"  # the recording has no video track
    TOO_SHORT = "too_short"  # less than one window
    NO_FACE = "no_face"  # no window shows the followed face
    TWO_FACES = "two_faces"  # a second face is there in most frames
    STILL_FACE = "still_face"  # a photograph: the face does not move
    NO_SPEECH = "no_speech"  # voice activity below the minimum
    NOT_SPEAKING = "not_speaking"  # the followed face does not move its mouth with what is heard
    NO_WORDS = "no_words"  # it is not known that anything is said
    # failed: the recording
    MISSING = "missing"  # no such file or object
    EMPTY = "empty"  # 0 bytes
    NOT_MEDIA = "not_media"  # no container of video or sound
    NO_DECODER = "no_decoder"  # sound or pictures in a codec that this machine can't decode
    NO_DURATION = "no_duration"  # the end can't be found in bounded time
    TOO_LARGE = "too_large"  # frame size or frame rate beyond the plan's limits
    BAD_SEGMENT = "bad_segment"  # the manifest gives it no length, or a place outside of its file
    TRUNCATED = "truncated"  # the data ends before this span
    TIMES_JUMP = "times_jump"  # the clock jumps in this span: what is of the same moment is not known
    CORRUPT = "corrupt"  # the data of this span can't be decoded
    # failed: the work on it
    DENIED = "denied"  # the store refuses access, or it lies outside of the allowed roots
    READ_ERROR = "read_error"  # the store or the disk broke off
    TIMEOUT = "timeout"  # over the wall-clock limit
    MEMORY = "memory"  # over the memory limit
    CRASH = "crash"  # the child process died
    TEACHER_ERROR = "teacher_error"  # a teacher raised, or gave numbers that are no probabilities
    HASH_MISMATCH = "hash_mismatch"  # not the bytes that the media stage made: labels would be on the wrong clip


FILTERED_REASONS = frozenset(
    {
        Reason.NO_AUDIO,
        Reason.NO_VIDEO,
        Reason.TOO_SHORT,
        Reason.NO_FACE,
        Reason.TWO_FACES,
        Reason.STILL_FACE,
        Reason.NO_SPEECH,
        Reason.NOT_SPEAKING,
        Reason.NO_WORDS,
    }
)
"""Reasons of status ``filtered``; all others are of status ``failed``."""

TRANSIENT_REASONS = frozenset(
    {Reason.DENIED, Reason.READ_ERROR, Reason.TIMEOUT, Reason.MEMORY, Reason.CRASH, Reason.TEACHER_ERROR}
)
"""Reasons that another run may not meet: what ``--retry_failed transient`` runs again."""


@dataclass(frozen=True)
class Problem:
    """Why a span is not labeled: the value that travels instead of an exception."""

    stage: str  # a `Stage`, or a teacher's name
    reason: Reason
    detail: str = ""

    @property
    def status(self) -> Status:
        """`filtered` or `failed`, as the reason has it."""
        return Status.FILTERED if self.reason in FILTERED_REASONS else Status.FAILED


def no_speech(share: float) -> Problem:
    """Of a span of which only this share of the time is speech, 0..1."""
    return Problem(Stage.MEDIA, Reason.NO_SPEECH, f"{share:.0%} of the time is speech")


class MediaError(Exception):
    """Raised inside the media stage and turned into a `Problem` at its edge."""

    def __init__(self, reason: Reason, detail: str = ""):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
