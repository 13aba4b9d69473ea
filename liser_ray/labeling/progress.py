"""What a running job has done so far: an actor that the workers report to and the driver reads."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import cast

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from liser_ray.labeling.schema import Outcomes
from liser_ray.media.outcome import Status

_LAST_REPORTS_S = 5.0  # on a busy machine; what a lost worker had to report never comes


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
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Work") -> "Work":
        return Work(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def fill(self) -> str:
        """How full its batches were, in words; "" of a stage without any."""
        return f" · batches {self.windows / self.slots:.0%} full" if self.slots else ""


@dataclass
class Counts:
    """What was done by some moment of a run.

    Attributes:
        outcomes: rows that have come to their end, by status and reason.
        video_s: seconds of video in them.
        work: by stage.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    video_s: float = 0.0
    work: dict[str, Work] = field(default_factory=lambda: defaultdict(Work))

    @property
    def spans(self) -> int:
        """Rows that have come to their end."""
        return sum(self.outcomes.values())

    def add_work(self, stage: str, work: Work) -> None:
        """Count what a stage did in one call."""
        self.work[stage] += work

    def add_rows(self, outcomes: Outcomes, video_s: float) -> None:
        """Count rows on their way to the writer, and the seconds of video in them."""
        self.outcomes.update(outcomes)
        self.video_s += video_s

    def read(self) -> "Counts":
        """All that was counted so far."""
        return Counts(self.outcomes, self.video_s, self.work)  # `self` is of a class that Ray has made from this one


class JobCounts:
    """The driver's and the workers' handle of `Counts` in an actor, which holds no CPU and lives as long as the driver.

    Who adds to it does not wait.
    """

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        counts = ray.remote(num_cpus=0)(Counts).options(scheduling_strategy=here)
        self._actor = cast("ActorHandle", counts.remote())

    def add_work(self, stage: str, work: Work) -> None:
        """See `Counts.add_work`."""
        self._actor.add_work.remote(stage, work)

    def add_rows(self, outcomes: Outcomes, video_s: float) -> None:
        """See `Counts.add_rows`."""
        self._actor.add_rows.remote(outcomes, video_s)

    def read(self) -> Counts:
        """All that was counted so far."""
        return cast("Counts", ray.get(self._actor.read.remote()))

    def wait_for_rows(self, rows: int) -> None:
        """Until so many rows have been counted, or some seconds: reports may come after the rows."""
        deadline = time.monotonic() + _LAST_REPORTS_S
        while self.read().spans < rows and time.monotonic() < deadline:
            time.sleep(0.05)


def describe(outcomes: Outcomes) -> str:
    """For example ``11 labeled, 1 filtered (no_face 1)``."""
    parts = []
    for status in Status:
        rows = {reason: n for (of, reason), n in outcomes.items() if of == status}
        if rows:
            parts.append(f"{sum(rows.values()):,} {status}" + (f" ({counted(rows)})" if any(rows) else ""))
    return ", ".join(parts) or "none yet"


def counted(reasons: Mapping[str, int]) -> str:
    """For example ``no_face 3, timeout 1``."""
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda one: -one[1]))
