"""What the stages tell of their work."""

import math
from collections.abc import Callable
from dataclasses import dataclass

Outcomes = dict[tuple[str, str], int]
"""(status, reason) to rows."""


@dataclass(frozen=True)
class Work:
    """What a stage did, in one call or in all of them.

    Attributes:
        spans: how many it worked on; rows that had come to their end before it do not count.
        ended: how many of them came to their end in it, and are no work for the next stage.
        busy_s: seconds of its workers.
        windows: clips or windows of sound that went through a teacher.
        slots: how many would have fitted into the batches that they took.
    """

    spans: int = 0
    ended: int = 0
    busy_s: float = 0.0
    windows: int = 0
    slots: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.spans + other.spans,
            self.ended + other.ended,
            self.busy_s + other.busy_s,
            self.windows + other.windows,
            self.slots + other.slots,
        )


Tell = Callable[[Work], None]


def untold(work: Work) -> None:
    """For a stage outside a job: nobody listens."""


def slots(windows: int, batch_size: int) -> int:
    """Windows that fit into the batches that so many take."""
    return math.ceil(windows / batch_size) * batch_size
