"""What a person sees while a job runs: a bar on a terminal, a line now and then in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

_LINE_EVERY_S = 30.0
_LOOK_EVERY_S = 1.0
_RUNS_SHOWN = 2


def clock(seconds: float) -> str:
    """``0:07`` or ``3:25:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


Tell = Callable[[str, int, str], None]
"""Told the name of a run, how much of it is done, and a line about it."""


class TrainingProgress:
    """How far each of several runs is: the workers tell, the driver asks. An actor where the workers are processes."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._lines: dict[str, str] = {}

    def add(self, run: str, done: int, line: str) -> None:
        """Note how much of a run is done, and what there is to say about it."""
        self._lines.pop(run, None)  # so that the latest stand last
        self._done[run], self._lines[run] = done, line

    def snapshot(self) -> tuple[int, str]:
        """How much of all runs is done, and a line about each of those heard of last."""
        latest = sorted(list(self._lines.items())[-_RUNS_SHOWN:])
        return sum(self._done.values()), " · ".join(f"{run}: {line}" for run, line in latest) or "starting"


class LiveDisplay:
    """Context: a thread that looks at what was done and shows it, with the time left.

    A bar on a terminal, else (a submitted job, a log file) a line every half minute.
    """

    def __init__(
        self,
        unit: str,
        total: int,
        look: Callable[[float], tuple[int, str]],
        done_before: int = 0,
        more_lines: Callable[[], Sequence[str]] = tuple,
    ):
        """Say what is counted.

        Args:
            unit: of the count, in the plural.
            total: how many there are, those done before included.
            look: given the seconds since the display was entered, how many are done since, and a text about them;
                called from the display's thread, once more at the end.
            done_before: how many an earlier run has done.
            more_lines: what a log has room for besides; called after each look.
        """
        self._unit = unit
        self._total = total
        self._look = look
        self._done_before = done_before
        self._more_lines = more_lines
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._started = time.monotonic()

    def line(self, done: int, text: str, elapsed_s: float) -> str:
        """One line: count, share, time left, text."""
        total = min(self._total, self._done_before + done)  # a lost machine's work is counted again
        left = clock(elapsed_s / done * max(0, self._total - total)) if done else "?"
        share = total / max(1, self._total)
        return f"{total:,}/{self._total:,} {self._unit} ({share:.0%}) · {left} left · {text}"

    def _show(self) -> None:
        if sys.stderr.isatty():
            form = "{percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]"
            with tqdm(total=self._total, initial=self._done_before, bar_format=form, unit=self._unit) as bar:
                for done, text, _ in self._looks(_LOOK_EVERY_S):
                    bar.set_postfix_str(text, refresh=False)
                    bar.update(min(self._total, self._done_before + done) - bar.n)
                    bar.refresh()
        else:
            for done, text, elapsed_s in self._looks(_LINE_EVERY_S):
                print(self.line(done, text, elapsed_s), *self._more_lines(), sep="\n", file=sys.stderr, flush=True)

    def _looks(self, every_s: float) -> Iterator[tuple[int, str, float]]:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(every_s)
            elapsed_s = time.monotonic() - self._started
            yield *self._look(elapsed_s), elapsed_s

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
