"""How fast a teacher is, by batch size, and which size is enough. No Ray in it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from liser_ray.runtime.errors import UserError

WORTH_IT = 1.05
"""A larger batch has to be so many times faster."""

_CALL_BATCHES = 4  # in one call, as in the labeling job: the next batch is copied while the device works
_IN_VAIN = 2  # sizes in a row: one that happened to be held up would end the search at a tenth of the speed

Stopped = Literal["no gain", "memory", "time", "largest"]


@dataclass(frozen=True)
class BatchSpeed:
    """A teacher at one batch size.

    Attributes:
        batch_size: windows per forward pass.
        windows: how many were timed.
        windows_per_s: how fast they went through.
    """

    batch_size: int
    windows: int
    windows_per_s: float


@dataclass(frozen=True)
class TeacherSpeed:
    """A teacher on a device, by batch size.

    Attributes:
        by_batch: for 1, 2, 4 ... windows.
        stopped: why not for more: two larger sizes gained less than 5 %, the memory ran out, the time was over, or it
            was the largest size.
    """

    by_batch: tuple[BatchSpeed, ...]
    stopped: Stopped

    @property
    def best(self) -> BatchSpeed:
        """The smallest batch that is within 5 % of the fastest.

        Where memory ran out, half the largest that fitted is the limit: in the job, two teachers share the device.
        """
        fitting = self.by_batch[:-1] if self.stopped == "memory" and len(self.by_batch) > 1 else self.by_batch
        fastest = max(map(_speed, fitting))
        return next(one for one in fitting if one.windows_per_s * WORTH_IT >= fastest)


def measure_teacher(
    ask: Callable[[np.ndarray, int], object], windows: np.ndarray, limit_s: float, largest: int
) -> TeacherSpeed:
    """Time a teacher with batches of 1, 2, 4 ... windows, until more of them gain nothing.

    The first call warms up. Of each size the first call counts only where there was no time for a second one.

    Args:
        ask: asks the teacher about windows [N, ...] in batches of a size; back when the answer is.
        windows: [n, ...] to ask about, at least one; they are repeated as needed.
        limit_s: no size is tried that would go beyond so many seconds; the smallest always is.
        largest: batch size.

    Raises:
        UserError: the device has no memory for a single window.
    """
    from torch import OutOfMemoryError, cuda  # takes seconds, and the children of the media stage import this package

    found: list[BatchSpeed] = []

    def result(stopped: Stopped) -> TeacherSpeed:
        return TeacherSpeed(tuple(found), stopped)

    try:
        ask(windows[:1], 1)
        deadline = time.monotonic() + limit_s
        share_s = limit_s / (largest.bit_length() + 1)  # for each size, and some to spare
        size = 1
        while size <= largest:
            batch_s = size / found[-1].windows_per_s if found else 0.0
            if found and time.monotonic() + batch_s > deadline:
                return result("time")
            batches = _CALL_BATCHES if found and _CALL_BATCHES * batch_s < share_s else 1
            found.append(_time(ask, windows, size, batches, share_s))
            before, latest = found[:-_IN_VAIN], found[-_IN_VAIN:]
            if before and max(map(_speed, latest)) < WORTH_IT * max(map(_speed, before)):
                return result("no gain")
            size *= 2
        return result("largest")
    except OutOfMemoryError as error:
        cuda.empty_cache()
        if not found:
            raise UserError(f"The GPU has no memory for one window of the teacher: {error}") from error
        return result("memory")


def _speed(batch: BatchSpeed) -> float:
    return batch.windows_per_s


def _time(
    ask: Callable[[np.ndarray, int], object], windows: np.ndarray, size: int, batches: int, at_least_s: float
) -> BatchSpeed:
    given = windows[np.arange(size * batches) % len(windows)]
    calls: list[float] = []
    while sum(calls) < at_least_s:
        started = time.monotonic()
        ask(given, size)
        calls.append(time.monotonic() - started)
    timed = calls[1:] or calls
    return BatchSpeed(size, len(timed) * len(given), len(given) / median(timed))  # one that was held up does not count
