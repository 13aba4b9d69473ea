"""Which picture each cell of a span's 30-Hz grid shows: a pure function of presentation times."""

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

FRAME_RATE_HZ = 30
"""Rate of the grid, whatever the source's: the video teacher was trained on 30 pictures a second."""

JITTER_S = 0.001
"""Times within this of a cell's middle count as at it: Matroska rounds to milliseconds, and at 60 pictures a second
every second picture starts right at a middle."""

MAX_HOLD_S = 0.25
"""How long a picture may stay on display beyond its own duration: a gap in a broken stream shows nothing."""

Picture = TypeVar("Picture")


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
