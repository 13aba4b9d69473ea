"""What a running job has done so far: an actor that the workers report to and the driver reads."""

import math
import time
from collections import Counter, defaultdict
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


def slots(windows: int, batch_size: int) -> int:
    """Windows that fit into the batches that so many take."""
    return math.ceil(windows / batch_size) * batch_size


@dataclass(frozen=True)
class Counts:
    """What was done by some moment of a run.

    Attributes:
        outcomes: rows that have come to their end, by status and reason.
        video_s: seconds of video in them.
        work: by stage.
    """

    outcomes: Outcomes = field(default_factory=dict)
    video_s: float = 0.0
    work: dict[str, Work] = field(default_factory=dict)

    @property
    def spans(self) -> int:
        """Rows that have come to their end."""
        return sum(self.outcomes.values())


class CountsActor:
    """Adds up what all workers report."""

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._video_s = 0.0
        self._work: defaultdict[str, Work] = defaultdict(Work)

    def add_rows(self, outcomes: Outcomes, video_s: float) -> None:
        """See `JobCounts.add_rows`."""
        self._outcomes.update(outcomes)
        self._video_s += video_s

    def add_work(self, stage: str, work: Work) -> None:
        """See `JobCounts.add_work`."""
        self._work[stage] += work

    def read(self) -> Counts:
        """All that was counted so far."""
        return Counts(dict(self._outcomes), self._video_s, dict(self._work))


class JobCounts:
    """The driver's and the workers' handle of a `CountsActor`, which holds no CPU and lives as long as the driver."""

    def __init__(self) -> None:
        """Start the actor, on the driver's node."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        counts = ray.remote(num_cpus=0)(CountsActor).options(scheduling_strategy=here)
        self._actor = cast("ActorHandle", counts.remote())

    def add_work(self, stage: str, work: Work) -> None:
        """Count what a stage did in one call, without waiting."""
        self._actor.add_work.remote(stage, work)

    def add_rows(self, outcomes: Outcomes, video_s: float) -> None:
        """Count rows on their way to the writer and the seconds of video in them, without waiting."""
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
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(rows.items(), key=lambda one: -one[1]))
            parts.append(f"{sum(rows.values()):,} {status}" + (f" ({reasons})" if any(rows) else ""))
    return ", ".join(parts) or "none yet"
