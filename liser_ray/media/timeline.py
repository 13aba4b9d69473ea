"""What is when: the one place that makes seconds of a recording of time stamps, and cells of a grid of seconds.

Times count from the recording's time zero, the earliest start among its tracks. Pictures lie on a grid of 30 Hz that
starts with a span (`shown_cells`); where the samples of a span lie is for `liser_ray.media.audio.SpanSound`.
"""

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

import av
from av.stream import Stream

from liser_ray.media.container import Tracks

FRAME_RATE_HZ = 30
"""Rate of the grid, whatever the source's: S2D was trained on 30 pictures a second."""

JITTER_S = 0.001
"""Times within this of a cell's middle count as at it: Matroska rounds to milliseconds, and at 60 pictures a second
every second picture starts right at a middle."""

MAX_HOLD_S = 0.25
"""How long a picture may stay on display beyond its own duration: a gap in a broken stream shows nothing."""

Picture = TypeVar("Picture")


class Timeline:
    """The times of an open recording's tracks."""

    def __init__(self, tracks: Tracks):
        self.tracks = tracks
        # A stream makes a new fraction of it at each look, for each packet and picture.
        self._time_bases = {
            track.index: (track.time_base.numerator, track.time_base.denominator)
            for track in tracks
            if track.time_base is not None
        }
        starts = [self.length_s(track.start_time, track) for track in tracks]
        self._origin_s = min((start_s for start_s in starts if start_s is not None), default=0.0)

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

    def stated_duration_s(self) -> float | None:
        """The end of the last track by the container's header; None if it does not say."""
        ends = [
            self.time_s(track.start_time + track.duration, track)
            for track in self.tracks
            if track.duration and track.start_time is not None
        ]
        known = [end_s for end_s in ends if end_s is not None]
        if len(known) == len(list(self.tracks)):
            return max(known)
        # Matroska and WAV tell it for the file alone.
        duration = self.tracks.container.duration
        return duration / av.time_base if duration is not None and duration > 0 else None


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
