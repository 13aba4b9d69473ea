"""A step in a process of its own, watched from outside: memory and CPU time of all that it starts, and its progress."""

import multiprocessing
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psutil
from machine import peak_bytes, proportional_bytes

# A step may be dozens of processes that import the same packages: without bytecode each takes twice as long for it.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ.setdefault("PYTHONPYCACHEPREFIX", f"{tempfile.gettempdir()}/liser-bytecode-{os.getuid()}")

WATCH_EVERY_S = 2.0
_STEADY = (0.1, 0.9)  # of the video: workers start before, and run dry after


@dataclass(frozen=True)
class Done:
    """What was finished by some moment.

    Attributes:
        at: seconds of the clock on the wall (`time.time`).
        spans: that have come to their end.
        video_s: seconds of video in them.
    """

    at: float
    spans: int
    video_s: float


def progress_of(finished: Iterable[tuple[float, int, float]]) -> list[Done]:
    """What was finished by each moment, from the moment, spans and seconds of video of each piece, in any order.

    A pool hands its results over in another order than that in which they were finished.
    """
    done = [Done(0.0, 0, 0.0)]
    for at, spans, video_s in sorted(finished):
        done.append(Done(at, done[-1].spans + spans, done[-1].video_s + video_s))
    return done[1:]


@dataclass(frozen=True)
class Look:
    """A process and all below it at some moment.

    Attributes:
        at: seconds of the clock on the wall.
        cpu_s: CPU time that they had taken, those that have ended included, by kind of process.
        memory: bytes, shared memory once (PSS).
        shared: bytes of it that are shared memory: Ray's object store, results of child processes.
        root: bytes that the first process had resident at its peak so far.
    """

    at: float
    cpu_s: Mapping[str, float]
    memory: int
    shared: int
    root: int


@dataclass(frozen=True)
class Watched:
    """A step from its process's start to its end.

    Attributes:
        started, ended: seconds of the clock on the wall.
        looks: at all its processes, every two seconds.
        done: its progress, first to last.
        value: what it returned.
    """

    started: float
    ended: float
    looks: Sequence[Look]
    done: Sequence[Done]
    value: Any = field(repr=False)

    @property
    def seconds(self) -> float:
        """From the start of Python to its end."""
        return self.ended - self.started

    @property
    def start_up_s(self) -> float:
        """From the start of Python until the first span was finished."""
        return self.done[0].at - self.started

    @property
    def close_s(self) -> float:
        """From the last span to the end of the process."""
        return self.ended - self.done[-1].at

    @property
    def video_s(self) -> float:
        """Seconds of video in all spans."""
        return self.done[-1].video_s

    @property
    def cpu_s(self) -> float:
        """CPU time of all processes."""
        return sum(self.looks[-1].cpu_s.values())

    @property
    def peak_memory(self) -> int:
        """Bytes of all processes, shared memory once."""
        return max(look.memory for look in self.looks)

    @property
    def peak_shared(self) -> int:
        """Bytes of shared memory."""
        return max(look.shared for look in self.looks)

    @property
    def peak_root(self) -> int:
        """Bytes of the first process alone: the driver."""
        return max(look.root for look in self.looks)

    def steady(self) -> tuple[float, float, float, float]:
        """Wall seconds, CPU seconds, seconds of video and spans between a tenth and nine tenths of the video.

        The marks are the first moments at which so much was seen to be finished, so that work in flight at both ends
        counts alike. Zeros if there was no progress between them.
        """
        first, last = (self._first_with(share * self.video_s) for share in _STEADY)
        cpu_s = sum(self.steady_cpu_s().values())
        return last.at - first.at, cpu_s, last.video_s - first.video_s, float(last.spans - first.spans)

    def steady_cpu_s(self) -> dict[str, float]:
        """CPU seconds in the same time, by kind of process."""
        first, last = (self._first_with(share * self.video_s) for share in _STEADY)
        kinds = self.looks[-1].cpu_s
        return {kind: self._cpu_at(last.at, kind) - self._cpu_at(first.at, kind) for kind in kinds}

    def _first_with(self, video_s: float) -> Done:
        return next(one for one in self.done if one.video_s >= video_s)

    def _cpu_at(self, at: float, kind: str) -> float:
        """CPU time of a kind by then, on a line between the looks before and after."""
        before = max((look for look in self.looks if look.at <= at), key=lambda look: look.at, default=self.looks[0])
        after = min((look for look in self.looks if look.at > at), key=lambda look: look.at, default=self.looks[-1])
        share = (at - before.at) / (after.at - before.at) if after.at > before.at else 0.0
        taken = before.cpu_s.get(kind, 0.0)
        return taken + share * (after.cpu_s.get(kind, 0.0) - taken)


def watch(step: Callable[..., tuple[Sequence[Done], Any]], *arguments: object) -> Watched:
    """Run a step that returns its progress and a value in a new process, and look at it until it ends.

    Raises:
        RuntimeError: it did not come to its end.
    """
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(sending, step, *arguments))
    started = time.time()
    process.start()
    sending.close()
    assert process.pid is not None
    tree, looks, answer = _Tree(process.pid), [], None
    while process.is_alive():
        with suppress(psutil.Error, OSError):  # it may just have ended
            looks.append(tree.look())
        try:
            if receiving.poll(0 if answer else WATCH_EVERY_S):
                answer = receiving.recv()
        except EOFError:  # it ends, with or without an answer
            process.join(WATCH_EVERY_S)
    ended = time.time()
    process.join()
    if process.exitcode or answer is None:
        raise RuntimeError(f"{step.__name__} ended with {process.exitcode}")
    return Watched(started, ended, looks, *answer)


def _run(sending: Connection, step: Callable[..., Any], *arguments: object) -> None:
    sending.send(step(*arguments))


class _Tree:
    """A process and its descendants; those that have ended keep the CPU time that they were last seen with."""

    def __init__(self, pid: int):
        self._root = psutil.Process(pid)
        self._cpu_s: dict[tuple[int, float], tuple[str, float]] = {}

    def look(self) -> Look:
        memory = shared = 0
        at = time.time()
        for process in [self._root, *self._root.children(recursive=True)]:
            with suppress(psutil.Error, OSError):
                times = process.cpu_times()
                kind = "driver" if process == self._root else kind_of(process.cmdline())
                self._cpu_s[process.pid, process.create_time()] = kind, times.user + times.system
                pss, shmem = proportional_bytes(process.pid)
                memory, shared = memory + pss, shared + shmem
        by_kind: dict[str, float] = defaultdict(float)
        for kind, taken in self._cpu_s.values():
            by_kind[kind] += taken
        return Look(at, dict(by_kind), memory, shared, peak_bytes(self._root.pid))


def kind_of(command: Sequence[str]) -> str:
    """What a process below the driver is for, by its command line."""
    line = " ".join(command)
    if stage := re.search(r"MapBatches\((\w+)\)", line):
        return f"{stage[1]} actors"
    if "serve_forks" in line:
        return "children that decode"
    if "multiprocessing" in line:
        return "pool's workers"
    return "Ray's other workers" if line.startswith("ray::") else "Ray's own processes"
