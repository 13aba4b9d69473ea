"""What a person sees while something takes long: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

_LINE_EVERY_S = 30.0
_LOOK_EVERY_S = 1.0
_RUNS_SHOWN = 2


def result_console() -> Console:
    """Where tables and results are printed: names and addresses as they are, whatever Rich would make of them."""
    return Console(highlight=False, markup=False, emoji=False)


def clock(seconds: float) -> str:
    """``0:07`` or ``3:25:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Counting:
    """Context: how much of something is done, with the time left.

    A bar on a terminal, gone when all is done quickly; else (a submitted job, a log file) a line every half minute.

    Args, of which all but the first can be set later:
        unit: of the count, in the plural.
        total: how many there are, those done before included; None while it is not known.
        done_before: how many an earlier run has done, which tell nothing about this one's speed.
        text: what else is to be said of them.
    """

    def __init__(self, unit: str, total: int | None = None, done_before: int = 0, text: str = ""):
        self.total, self.done, self.text = total, done_before, text
        self._unit, self._done_before = unit, done_before
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        self._started = self._told = time.monotonic()
        if sys.stderr.isatty():
            columns = (
                BarColumn(20),
                TextColumn("{task.percentage:3.0f}% {task.description}", markup=False),
                TimeElapsedColumn(),
                TextColumn("<"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._bar = Progress(
                *columns,
                console=Console(stderr=True, force_terminal=True, soft_wrap=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # else results that go to a file would be shown in its place
            )
            self._task = self._bar.add_task(self.count, total=self.total, completed=self.done, text=self.text)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._show()
        if self._bar is not None:
            self._bar.stop()

    def __getstate__(self) -> dict[str, Any]:
        """All but the bar, which is the terminal's: Tune writes its callbacks, and what they hold, to a file."""
        return {**vars(self), "_bar": None}

    @property
    def on_terminal(self) -> bool:
        """Whether somebody is watching."""
        return self._bar is not None

    @property
    def count(self) -> str:
        """``1,000/4,000 recordings``."""
        return f"{self.done:,}{f'/{self.total:,}' if self.total is not None else ''} {self._unit}"

    @property
    def line(self) -> str:
        """One line: count, share, time left, text."""
        new, elapsed_s = self.done - self._done_before, time.monotonic() - self._started
        parts = [self.count]
        if self.total is not None:
            left = clock(elapsed_s / new * max(0, self.total - self.done)) if new else "?"
            parts = [f"{self.count} ({self.done / max(1, self.total):.0%})", f"{left} left"]
        return " · ".join([*parts, self.text] if self.text else parts)

    def advance(self, n: int = 1) -> None:
        """So many more are done."""
        self.show(self.done + n)

    def show(self, done: int, text: str | None = None) -> None:
        """So many are done in all, those done before included; with another text, if one is given."""
        self.done, self.text = done, self.text if text is None else text
        self._show()
        if self._bar is None and time.monotonic() - self._told > _LINE_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Print a line now."""
        self._told = time.monotonic()
        print(self.line, file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self.done, total=self.total, description=self.count, text=self.text, refresh=True
            )


Tell = Callable[[str, int, str], None]
"""Told the name of a run, how much of it is done, and a line about it."""


class RunsProgress:
    """How far each of several runs is: the workers tell, the driver asks. An actor where the workers are processes."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._lines: dict[str, str] = {}

    def add(self, run: str, done: int, line: str) -> None:
        """Note how much of a run is done, and what there is to say about it."""
        self._lines.pop(run, None)  # so that the latest stand last
        self._done[run], self._lines[run] = done, line

    def snapshot(self) -> tuple[int, str]:
        """How much of all runs is done, and a line about each of those told of last."""
        latest = sorted(list(self._lines.items())[-_RUNS_SHOWN:])
        return sum(self._done.values()), " · ".join(f"{run}: {line}" for run, line in latest) or "starting"


class LiveDisplay:
    """Context: a thread that looks at what was done, now and then and at the end, and shows it as `Counting` does.

    What it saw at the end stays on a terminal too, where the package's log is at "info" as in all jobs.

    Args:
        unit, total, done_before: as in `Counting`.
        look: given the seconds since the display was entered, how many are done since, and a text about them; called
            from the display's thread.
        more_lines: what a log has room for besides; called after each look.
    """

    def __init__(
        self,
        unit: str,
        total: int,
        look: Callable[[float], tuple[int, str]],
        done_before: int = 0,
        more_lines: Callable[[], Sequence[str]] = tuple,
    ):
        self._counting = Counting(unit, total, done_before)
        self._total, self._done_before = total, done_before
        self._look, self._more_lines = look, more_lines
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def _show(self) -> None:
        with self._counting as counting:
            stopped = False
            while not stopped:
                stopped = self._stop.wait(_LOOK_EVERY_S if counting.on_terminal else _LINE_EVERY_S)
                done, text = self._look(time.monotonic() - self._started)
                # A lost machine's work is counted again.
                counting.done, counting.text = min(self._total, self._done_before + done), text
                if counting.on_terminal and not stopped:
                    counting.show(counting.done)
                elif not stopped or log.isEnabledFor(logging.INFO):  # which the demo, of many jobs, has not
                    counting.tell()
                    for line in self._more_lines():
                        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
