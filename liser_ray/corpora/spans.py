"""Recordings cut into spans: pure arithmetic, in whole microseconds."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from liser_ray.corpora.segments import WHOLE, Segment

MICROSECONDS = 1_000_000
WINDOW_FRAMES = 16
FRAME_RATE_HZ = 30

# Measured sizes of a second of the labels table (zstd). FLAC of 16 kHz mono 16-bit speech: 18 kB in the mean of 14
# talking heads off the web (15 to 23), 10 kB of a studio's. The rest are float32 figures, which hardly compress.
FLAC_BYTES_PER_S = 18_000
TABLE_BYTES_PER_S = 60  # boxes, ids, hashes
TEACHER_BYTES_PER_S = 95  # softmaxes of 2 windows over 8 labels


@dataclass(frozen=True)
class Span:
    """A stretch of a recording, in seconds from the recording's start."""

    span_id: str  # 32 hex digits, the same whenever the same recording is planned with the same span length
    start_s: float
    end_s: float  # the next span's start, to the bit
    too_short: bool  # whether it holds less than one clip of 16 frames at 30 Hz


def recording_id(uri: str, size_bytes: int, version: str, segment: Segment = WHOLE) -> str:
    """32 hex digits for a version of a recording: BLAKE2b of its file's address, size, ETag or mtime, and its place."""
    return _digest(uri, str(size_bytes), version, *_place(segment))


def address_id(uri: str, segment: Segment = WHOLE) -> bytes:
    """16 bytes that stand for where a recording is, whatever its version."""
    return bytes.fromhex(_digest(uri, *_place(segment)))


def _place(segment: Segment) -> tuple[str, ...]:
    return () if segment == WHOLE else tuple(map(repr, segment))


def span_id(recording: str, start_us: int, span_us: int) -> str:
    """32 hex digits for the span of a recording (its id) that starts there, in a plan with spans of that length."""
    return _digest(recording, str(start_us), str(span_us))


def _digest(*parts: str) -> str:
    # 128 bits: among 10^9 spans the odds of any two alike are 10^-21. Only the first part may hold the separator.
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def cut(recording: str, duration_s: float, span_seconds: float, breaks_s: Sequence[float] = ()) -> Iterator[Span]:
    """The spans of a recording, one after the other, without gaps; the last may be short, and the last before a break.

    A recording (its `recording_id` and its length, more than 0) no longer than `span_seconds` is one span. Times are
    whole microseconds, the unit of container headers, divided once: no rounding errors add up, however long it is.
    """
    span_us = round(span_seconds * MICROSECONDS)
    duration_us = max(1, round(duration_s * MICROSECONDS))
    breaks_us = [round(break_s * MICROSECONDS) for break_s in breaks_s]
    pieces = pairwise([0, *breaks_us, duration_us])
    for start_us, piece_end_us in ((start, end) for first, end in pieces for start in range(first, end, span_us)):
        end_us = min(start_us + span_us, piece_end_us)
        yield Span(
            span_id=span_id(recording, start_us, span_us),
            start_s=start_us / MICROSECONDS,
            end_s=end_us / MICROSECONDS,
            too_short=(end_us - start_us) * FRAME_RATE_HZ < WINDOW_FRAMES * MICROSECONDS,
        )


def is_whole(start_s: float, end_s: float, recording_s: float) -> bool:
    """Whether a span is all of its recording, but for an end that is too short to be labeled."""
    return start_s == 0 and (recording_s - end_s) * FRAME_RATE_HZ < WINDOW_FRAMES


def expected_output_bytes(seconds: float, teachers: int) -> int:
    """About how large the labels table will be, with audio, for so many seconds of recordings."""
    return round(seconds * (FLAC_BYTES_PER_S + TABLE_BYTES_PER_S + TEACHER_BYTES_PER_S * teachers))
