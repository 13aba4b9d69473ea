"""Segments: stretches of a file that are recordings of their own, and the ways in which lists write their times."""

import math
import re
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from liser_ray.media.outcome import MediaError, Reason

_NUMBER = re.compile(r"\d+([.,]\d*)?([eE][+-]?\d+)?|[.,]\d+")
_CLOCK = re.compile(r"(?:(\d+) days?(?:,? |$))?(?:(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?))?")  # pandas, SRT, FFmpeg
_NOTHING = frozenset({"", "nat", "nan", "none", "null"})

_BEYOND_S = 0.1
"""So much may an end lie behind the file's, which headers round; it is then the file's."""


class Segment(NamedTuple):
    """A stretch of a file, in seconds from the file's start; its own times count from `start_s`."""

    start_s: float = 0.0
    end_s: float | None = None  # None: the file's end

    def within(self, file_s: float) -> tuple[float, float]:
        """Start and end in a file of this length, in seconds.

        Raises:
            MediaError: BAD_SEGMENT, it has no length, or lies outside of the file.
        """
        end_s = file_s if self.end_s is None else self.end_s
        if self.start_s >= min(end_s, file_s) or end_s > file_s + _BEYOND_S:
            raise MediaError(Reason.BAD_SEGMENT, f"a segment {self} of a file of {file_s:.2f} s")
        return self.start_s, min(end_s, file_s)

    def __str__(self) -> str:
        """Such as "from 1.5 to 3 s"."""
        return f"from {self.start_s:g} s" if self.end_s is None else f"from {self.start_s:g} to {self.end_s:g} s"


WHOLE = Segment()
"""All of a file."""

SEGMENT_COLUMNS = ("segment_start_s", "segment_end_s")
"""Columns of a plan and a labels table where the recordings are segments: where in its file each of them lies."""


def seconds(value: object) -> float | None:
    """A time as a list has it, in seconds, on the microsecond: None for nothing.

    Numbers are seconds, also as text and with a decimal comma; ``1:02:03.5`` and ``2:03`` are hours, minutes and
    seconds; ``0 days 00:00:02`` is what pandas and audformat write.

    Raises:
        ValueError: it is none, or below 0.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, str):
        value = _from_text(value.strip())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= value < math.inf:
        raise ValueError
    return round(float(value), 6)


def _from_text(text: str) -> float | None:
    if text.lower() in _NOTHING:
        return None
    if _NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        raise ValueError
    days, hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in clock.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + rest
