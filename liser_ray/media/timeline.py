"""What is when: the one place that makes seconds of a recording of time stamps, and cells of a grid of seconds.

A recording is one or more *pieces*, one after the other, and each has one clock for both tracks: nearly all have one
piece; joined files one for each file, streams one for each stretch between two jumps of their clock. Time zero of a
piece is the earliest start among its tracks, wherever its clock begins. Pictures lie on a grid of 30 Hz that starts
with a span (`shown_cells`); where the samples of a span lie is for `liser_ray.media.audio.SpanSound`.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import av
from av.stream import Stream

from liser_ray.media.container import Tracks
from liser_ray.media.stretches import Stamp, Stretch

FRAME_RATE_HZ = 30
"""Rate of the grid, whatever the source's: S2D was trained on 30 pictures a second."""

JITTER_S = 0.001
"""Times within this of a cell's middle count as at it: Matroska rounds to milliseconds, and at 60 pictures a second
every second picture starts right at a middle."""

MAX_HOLD_S = 0.25
"""How long a picture may stay on display beyond its own duration: a gap in a broken stream shows nothing."""

_STREAMS = frozenset({"mpegts", "mpeg"})  # without an index; FFmpeg can go to any byte of them

_MAX_DELAY_S = 5.0  # from decoding a picture to showing it
_LEAST_BYTES_PER_S = 2000  # of sound and pictures together

_AT_ZERO_S = 0.5
"""A clock that begins later has an offset, and what the container calls its duration may count from zero or not."""

Picture = TypeVar("Picture")


@dataclass(frozen=True)
class Piece:
    """A part of a recording with one clock."""

    start_s: float  # in the recording: where the piece before it ends
    duration_s: float | None  # of its longer track; None: not known, and no piece follows
    file: tuple[int, int]  # first byte and end of the file that it lies in
    stretch: Stretch | None  # of a stream that was read through


class Timeline:
    """The times of an open container's tracks, from time zero of a piece of it."""

    def __init__(self, tracks: Tracks, stretch: Stretch | None = None):
        self.tracks = tracks
        self.stretch = stretch
        self.is_stream = tracks.container.format.name in _STREAMS
        # A stream makes a new fraction of it at each look, for each packet and picture.
        self._time_bases = {
            track.index: (track.time_base.numerator, track.time_base.denominator)
            for track in tracks
            if track.time_base is not None
        }
        starts = [self.length_s(track.start_time, track) for track in tracks]
        self._origin_s = min((start_s for start_s in starts if start_s is not None), default=0.0)
        own_s = self._origin_s
        if stretch is not None:
            self._origin_s = stretch.start_s
        self.begins_inside = abs(self._origin_s - own_s) > _AT_ZERO_S

    def time_s(self, ticks: int | None, track: Stream) -> float | None:
        """Seconds from time zero of a time stamp; None where there is none."""
        length_s = self.length_s(ticks, track)
        return None if length_s is None else length_s - self._origin_s

    def length_s(self, ticks: int | None, track: Stream) -> float | None:
        """A duration in seconds; None where there is none."""
        if ticks is None or track.index not in self._time_bases:
            return None
        numerator, denominator = self._time_bases[track.index]
        return ticks * numerator / denominator

    def ticks(self, time_s: float, track: Stream) -> int:
        """The track's time stamp of a time; for a track that has them."""
        numerator, denominator = self._time_bases[track.index]
        return int((self._origin_s + time_s) / (numerator / denominator))

    def seek_byte(self, time_s: float) -> int | None:
        """From where on all tracks can be decoded from a time on, in a stretch; None: from where its file begins."""
        if self.stretch is None:
            return None
        points = self.stretch.seek_points
        index = bisect_right(points, self._origin_s + time_s, key=lambda point: point[0]) - 1
        return points[index][1] if index >= 0 else self.stretch.first_byte or None

    def holds(self, packet: av.Packet) -> bool:
        """Whether a packet is of this piece, and not sound or pictures that a jump left behind between its own."""
        if self.stretch is None:
            return True
        first, last = self.stretch.bytes_of.get(packet.stream.index, (0, -1))
        if packet.pos is not None and not first <= packet.pos <= last:
            return False
        clock_s = self.length_s(packet.pts if packet.pts is not None else packet.dts, packet.stream)
        return clock_s is None or self.stretch.start_s - 1 <= clock_s <= self.stretch.end_s + 1

    def is_past(self, packet: av.Packet) -> bool:
        """Whether a packet, and all after it, lie behind this piece."""
        return self.stretch is not None and packet.pos is not None and packet.pos > self.stretch.last_byte

    def stamps(self, packets: Iterable[av.Packet]) -> Iterator[Stamp]:
        """What packets tell of their times, by the container's clock."""
        for packet in packets:
            start_s = self.length_s(packet.pts if packet.pts is not None else packet.dts, packet.stream)
            end_s = None if start_s is None else start_s + (self.length_s(packet.duration, packet.stream) or 0.0)
            yield Stamp(packet.stream.index, self.order_s(packet), start_s, end_s, packet.pos, packet.is_keyframe)

    def order_s(self, packet: av.Packet) -> float | None:
        """The clock by which packets of a track ascend, which shows its jumps; None where it is not known.

        Where a container does not store it, FFmpeg counts it on from packets before: over a jump it is far from when
        the picture is shown, or after that.
        """
        order_s, start_s = (self.length_s(ticks, packet.stream) for ticks in (packet.dts, packet.pts))
        if start_s is None:
            return order_s
        if order_s is not None and 0 <= start_s - order_s <= _MAX_DELAY_S:
            return order_s
        return start_s if packet.is_keyframe else None

    def may_jump(self, n_bytes: int) -> bool:
        """Whether the clock of a file of that size has to be looked at, packet by packet.

        That of a stream always; any other only where what the header states is too long for so few bytes.
        """
        return self.is_stream or n_bytes < _LEAST_BYTES_PER_S * (self.tracks.container.duration or 0) / av.time_base

    def seek_end(self) -> bool:
        """Go to shortly before the end by the container's own figure; whether there is one, and the container can."""
        container = self.tracks.container
        if not container.duration or container.duration <= 0:
            return False
        try:
            container.seek(container.duration)
        except av.FFmpegError:
            return False
        return True

    def packet_end_s(self, packet: av.Packet) -> float | None:
        """When a packet's pictures or sound end."""
        return None if packet.pts is None else self.time_s(packet.pts + (packet.duration or 0), packet.stream)

    def reach_s(self, track: Stream) -> tuple[float | None, float | None]:
        """When a track starts and ends, as far as that is known without reading on."""
        if self.stretch is not None:
            times = self.stretch.times_of.get(track.index)
            return (times[0] - self._origin_s, times[1] - self._origin_s) if times else (None, None)
        start_s, length_s = self.time_s(track.start_time, track), self.length_s(track.duration, track)
        return start_s, None if start_s is None or not length_s else start_s + length_s

    def stated_duration_s(self) -> float | None:
        """The end of the last track by the container's header; None if it does not say, or may count from elsewhere."""
        container = self.tracks.container
        if self._origin_s > _AT_ZERO_S and "mp4" not in container.format.name:
            return None
        known = [end_s for _, end_s in map(self.reach_s, self.tracks) if end_s is not None]
        if len(known) == len(list(self.tracks)):
            return max(known)
        # Matroska and WAV tell it for the file alone.
        return container.duration / av.time_base if container.duration is not None and container.duration > 0 else None


def first_cell(time_s: float) -> int:
    """The first cell whose middle is not before a time, both from the span's start; may be negative."""
    return math.ceil((time_s - JITTER_S) * FRAME_RATE_HZ - 0.5 - 1e-9)


def shown_cells(pictures: Iterable[tuple[float, float, Picture]], n_cells: int) -> Iterator[tuple[int, int, Picture]]:
    r"""The pictures that are on display at the middle of a cell, and in which cells.

    Cell :math:`k` shows the last picture with :math:`t \le (k + 1/2) / 30`, and nothing before the first picture or
    where that picture has run out by more than `MAX_HOLD_S`.

    Args:
        pictures: (time in seconds from the span's start, duration in seconds, picture) in order of presentation;
            one that is not later than the one before it is skipped. Read only as far as needed.
        n_cells: of the span.

    Yields:
        (first cell, number of cells >= 1, picture), ascending and disjoint.
    """
    held: tuple[float, float, Picture] | None = None
    for time_s, duration_s, picture in pictures:
        if held is not None:
            if time_s <= held[0]:
                continue
            yield from _cells_of(*held, min(n_cells, first_cell(time_s)))
        held = (time_s, duration_s, picture)
        if first_cell(time_s) >= n_cells:
            return
    if held is not None:
        yield from _cells_of(*held, n_cells)


def _cells_of(time_s: float, duration_s: float, picture: Picture, stop: int) -> Iterator[tuple[int, int, Picture]]:
    first = max(0, first_cell(time_s))
    stop = min(stop, first_cell(time_s + duration_s + MAX_HOLD_S))
    if stop > first:
        yield first, stop - first, picture
