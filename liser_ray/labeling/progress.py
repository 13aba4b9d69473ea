"""Progress of a running job: an actor that counts, and a thread that shows."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Self, cast

import ray
from ray.actor import ActorHandle
from tqdm import tqdm

from liser_ray.outcome import Status

_LINE_EVERY_S = 30.0
_LOOK_EVERY_S = 1.0
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


def clock(seconds: float) -> str:
    """``0:07`` or ``3:25:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressDisplay:
    """Context: a bar on a terminal, else (a submitted job, a log file) a line every half minute.

    Attributes:
        elapsed_s: since it was entered.
    """

    def __init__(self, actor: ActorHandle, spans: int, done_before: int):
        self._actor = actor
        self._spans = spans
        self._done_before = done_before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the display was entered."""
        return time.monotonic() - self._started

    def line(self, outcomes: Outcomes, seconds: float) -> str:
        """One line of text: spans, rates, time left, outcomes."""
        done = sum(outcomes.values())
        total = self._done_before + done
        left_s = self.elapsed_s / done * (self._spans - total) if done else None
        return (
            f"{total:,}/{self._spans:,} spans ({total / max(1, self._spans):.0%}) · "
            f"{done / self.elapsed_s:.2g} spans/s · {seconds / self.elapsed_s:.2g} video-h/h · "
            f"{clock(left_s) if left_s is not None else '?'} left · {describe(outcomes)}"
        )

    def _show(self) -> None:
        if sys.stderr.isatty():
            form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} spans [{elapsed}<{remaining}{postfix}]"
            with tqdm(total=self._spans, initial=self._done_before, bar_format=form, unit="span") as bar:
                for outcomes, seconds in self._looks(_LOOK_EVERY_S):
                    done = sum(outcomes.values())
                    rates = f"{done / self.elapsed_s:.2g} spans/s, {seconds / self.elapsed_s:.2g} video-h/h"
                    bar.set_postfix_str(f"{rates}, {describe(outcomes)}", refresh=False)
                    bar.update(self._done_before + done - bar.n)
                    bar.refresh()
        else:
            for outcomes, seconds in self._looks(_LINE_EVERY_S):
                print(self.line(outcomes, seconds), file=sys.stderr, flush=True)

    def _looks(self, every_s: float) -> Iterator[tuple[Outcomes, float]]:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(every_s)
            yield cast("tuple[Outcomes, float]", ray.get(self._actor.snapshot.remote()))

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
