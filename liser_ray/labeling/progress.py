"""Progress of a running job: an actor that counts, and what is shown of it."""

from collections import Counter
from typing import cast

import ray
from ray.actor import ActorHandle

from liser_ray.display import LiveDisplay
from liser_ray.outcome import Status

Outcomes = dict[tuple[str, str], int]  # (status, reason) to rows


class ProgressCounts:
    """The actor: counts rows on their way to the writer, from any worker."""

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._seconds = 0.0

    def add(self, outcomes: Outcomes, seconds: float) -> None:
        """Count rows by status and reason, and the seconds of video in them."""
        self._outcomes.update(outcomes)
        self._seconds += seconds

    def snapshot(self) -> tuple[Outcomes, float]:
        """All that was counted so far."""
        return dict(self._outcomes), self._seconds


def start_progress() -> ActorHandle:
    """A running `ProgressCounts` that holds no CPU."""
    actor: ActorHandle = ray.remote(num_cpus=0)(ProgressCounts).remote()  # type: ignore[assignment]
    return actor


def describe(outcomes: Outcomes) -> str:
    """For example ``11 labeled, 1 filtered (no_face 1)``."""
    parts = []
    for status in Status:
        rows = {reason: n for (of, reason), n in outcomes.items() if of == status}
        if rows:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(rows.items(), key=lambda one: -one[1]))
            parts.append(f"{sum(rows.values()):,} {status}" + (f" ({reasons})" if any(rows) else ""))
    return ", ".join(parts) or "none yet"


def labeling_display(actor: ActorHandle, spans: int, done_before: int) -> LiveDisplay:
    """The display of a job: spans, spans/s, hours of video per hour, outcomes."""

    def look(elapsed_s: float) -> tuple[int, str]:
        outcomes, seconds = cast("tuple[Outcomes, float]", ray.get(actor.snapshot.remote()))
        done = sum(outcomes.values())
        rates = f"{done / elapsed_s:.2g} spans/s · {seconds / elapsed_s:.2g} video-h/h"
        return done, f"{rates} · {describe(outcomes)}"

    return LiveDisplay("spans", spans, look, done_before)
