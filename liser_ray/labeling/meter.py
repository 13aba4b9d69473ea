"""What the workers tell of their work: to the job's own count, and as Prometheus metrics to whoever watches.

Ray exports the metrics on each node; deploy/grafana/ has a dashboard for them. Ray puts ``ray_`` before their names.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from ray.actor import ActorHandle
from ray.util.metrics import Counter

from liser_ray.outcome import Stage

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


class StageMeter:
    """Tells a stage's work; made by the driver, used in the stage's workers."""

    def __init__(self, stage: Stage, progress: ActorHandle):
        self._stage = stage
        self._progress = progress

    def __call__(self, work: Work) -> None:
        """Count it."""
        self._progress.add_work.remote(self._stage, work)
        for counter, value in zip(self._counters, (work.spans, work.busy_s, work.windows, work.slots), strict=True):
            if value:
                counter.inc(value)

    @cached_property
    def _counters(self) -> list[Counter]:
        described = {
            "liser_stage_spans": "Spans that a stage worked on",
            "liser_stage_busy_seconds": "Seconds that a stage's workers worked, all together",
            "liser_stage_windows": "Windows that went through a teacher",
            "liser_stage_batch_slots": "Windows that would have fitted into the batches they took",
        }
        counters = [Counter(name, text, ("stage",)) for name, text in described.items()]
        for counter in counters:
            counter.set_default_tags({"stage": str(self._stage)})
        return counters


class OutcomeMeter:
    """Tells how rows ended; made by the driver, used where they go to the writer."""

    def __init__(self, progress: ActorHandle):
        self._progress = progress

    def __call__(self, outcomes: Outcomes, video_s: float) -> None:
        """Count rows, and the seconds of video in them."""
        self._progress.add.remote(outcomes, video_s)
        rows, seconds = self._counters
        for (status, reason), n in outcomes.items():
            rows.inc(n, {"status": status, "reason": reason})
        if video_s:
            seconds.inc(video_s)

    @cached_property
    def _counters(self) -> tuple[Counter, Counter]:
        return (
            Counter("liser_spans", "Spans that have come to their end", ("status", "reason")),
            Counter("liser_video_seconds", "Seconds of video in them"),
        )
