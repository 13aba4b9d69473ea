"""The count of a running job: an actor that the workers tell, and a text about it."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import cast

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from liser_ray.labeling.meter import Outcomes, Work
from liser_ray.media.outcome import Status

_LAST_WORD_S = 5.0  # on a busy machine; what a lost worker had to say never comes


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


class ProgressCounts:
    """The actor: counts what any worker tells."""

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._video_s = 0.0
        self._work: defaultdict[str, Work] = defaultdict(Work)

    def add(self, outcomes: Outcomes, video_s: float) -> None:
        """Count rows on their way to the writer, and the seconds of video in them."""
        self._outcomes.update(outcomes)
        self._video_s += video_s

    def add_work(self, stage: str, work: Work) -> None:
        """Count what a stage did in one call."""
        self._work[stage] += work

    def snapshot(self) -> Counts:
        """All that was counted so far."""
        return Counts(dict(self._outcomes), self._video_s, dict(self._work))


def start_progress() -> ActorHandle:
    """A running `ProgressCounts` that holds no CPU; on the driver's node, which is there for as long as the job is."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return cast("ActorHandle", ray.remote(num_cpus=0)(ProgressCounts).options(scheduling_strategy=here).remote())


def tell_work(actor: ActorHandle, stage: str, work: Work) -> None:
    """Have a `ProgressCounts` count what a stage did in one call; for its workers, who do not wait."""
    actor.add_work.remote(stage, work)


def tell_outcomes(actor: ActorHandle, outcomes: Outcomes, video_s: float) -> None:
    """Have it count rows on their way to the writer, and the seconds of video in them."""
    actor.add.remote(outcomes, video_s)


def ask_progress(actor: ActorHandle) -> Counts:
    """What a `ProgressCounts` has counted so far."""
    return cast("Counts", ray.get(actor.snapshot.remote()))


def wait_for_rows(actor: ActorHandle, rows: int) -> None:
    """Until so many rows have been counted, or some seconds: workers don't wait, and may be heard after the end."""
    deadline = time.monotonic() + _LAST_WORD_S
    while ask_progress(actor).spans < rows and time.monotonic() < deadline:
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
