"""The process between a `Sandbox` and its children: forks them, watches their time and memory, passes results on.

It does no work of its own, so that it never hangs or crashes, and it ends when the sandbox's owner does.
"""

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from concurrent.futures import TimeoutError as PoolTimeout
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from pebble import ProcessExpired, ProcessPool

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.runtime.errors import UserError

_WATCH_INTERVAL_S = 0.02
_INLINE_BYTES = 64 << 10  # smaller arrays travel with the reply
_MAX_CALLS_PER_CHILD = 500  # so that a slow leak in some C library never adds up to a false memory error
_ALIGNMENT = 64
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Call:
    """A call on its way to a child: the function and its arguments, pickled, and where large results go."""

    call_id: int
    payload: bytes
    timeout_s: float
    results_path: str


@dataclass(frozen=True)
class Reply:
    """What became of a call: ``error``, or ``value`` (pickled) and its large buffers' (offset, size).

    Without ``call_id``, the nursery itself has failed.
    """

    call_id: int | None
    value: bytes = b""
    buffers: tuple[tuple[int, int], ...] = ()
    error: BaseException | None = None


def main() -> None:
    """Serve the connection whose descriptor, and settings, the command line gives, until its other end closes."""
    connection = Connection(int(sys.argv[1]))
    workers, memory_mb, preload = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    send_lock = threading.Lock()

    def send(reply: Reply) -> None:
        with send_lock, contextlib.suppress(OSError):
            connection.send(reply)

    try:
        for module in filter(None, preload.split(",")):
            importlib.import_module(module)
    except BaseException:
        send(Reply(None, error=RuntimeError(f"a preloaded module can't be imported:\n{traceback.format_exc()}")))
        sys.exit(1)

    calls: queue.Queue[Call] = queue.Queue()
    for _ in range(workers):
        slot = _Slot(memory_mb)

        def serve(slot: _Slot = slot) -> None:
            while True:
                send(slot.run(calls.get()))

        threading.Thread(target=serve, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            calls.put(connection.recv())
    _end_group()


def _end_group() -> NoReturn:
    """End this process and all children, whatever they are doing. The sandbox made us a process group of our own."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


class _Slot:
    """One child at a time, in a pebble pool of its own, and the watch on its memory."""

    def __init__(self, memory_mb: int):
        self._memory_kb = memory_mb << 10
        self._context = multiprocessing.get_context("fork")
        self._child: Any = self._context.Array("q", 2, lock=False)  # its memory at the start in KiB, its process id
        self._too_large = 0  # process id of the last child ended for its memory
        self._pool: ProcessPool | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def run(self, call: Call) -> Reply:
        """Run a call to its end.

        A pool that broke is replaced and the call tried once more: it need not be the call's fault (pebble gives a pool
        up when its child is killed while idle).
        """
        for _ in range(2):
            pool = self._pool = self._pool or self._new_pool()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads: only waiting ones here
                    reply: Reply = pool.schedule(_run_call, args=[call], timeout=call.timeout_s).result()
                return reply
            except PoolTimeout:
                return _failed(call, Reason.TIMEOUT, f"over {call.timeout_s:g} s")
            except ProcessExpired as error:
                if error.pid == self._too_large:
                    return _failed(call, Reason.MEMORY, f"over {self._memory_kb >> 10} MiB")
                return _failed(call, Reason.CRASH, _how_it_ended(error.exitcode))
            except (BrokenProcessPool, RuntimeError):  # RuntimeError: it had broken before
                self._pool = None
                pool.stop()
                pool.join()
        return _failed(call, Reason.CRASH, "the child process died as it took up the call")

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=1,
            max_tasks=_MAX_CALLS_PER_CHILD,
            initializer=_enter_child,
            initargs=(os.getpid(), self._child),
            context=self._context,
        )

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_INTERVAL_S)
            baseline_kb, pid = self._child
            if pid and memory_kb(pid) > baseline_kb + self._memory_kb:
                self._too_large = pid
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def memory_kb(pid: int) -> int:
    """Memory of a process that is not a file's, in KiB; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon:", "RssShmem:")))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _enter_child(nursery_pid: int, child: Any) -> None:  # noqa: ANN401 (a ctypes array has no public type)
    """First thing in a new child."""
    # pebble's handler for SIGTERM is Python code, which never runs while C code hangs with the GIL held.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery_pid:
        os._exit(0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory runs out, this process is the one to lose
    child[0] = memory_kb(os.getpid())
    child[1] = os.getpid()


def _run_call(call: Call) -> Reply:
    """In the child: the call itself. Whatever it raises becomes a value."""
    try:
        function, args = pickle.loads(call.payload)
        return _as_reply(call, function(*args))
    except (MediaError, UserError) as error:
        return Reply(call.call_id, error=error)
    except MemoryError as error:
        return _failed(call, Reason.MEMORY, str(error) or "out of memory")
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return _failed(call, Reason.CRASH, f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})")


def _as_reply(call: Call, result: object) -> Reply:
    """The result, with its large arrays written to the memory that the sandbox's owner holds.

    Arrays in the pickle itself would go through two pipes and be copied six times on the way.
    """
    buffers: list[memoryview] = []

    def keep_in_pickle(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _INLINE_BYTES:
            return True
        buffers.append(view)
        return False

    value = pickle.dumps(result, protocol=5, buffer_callback=keep_in_pickle)
    if not buffers:
        return Reply(call.call_id, value)
    try:
        descriptor = os.open(call.results_path, os.O_WRONLY)
    except OSError:  # no /proc, or not allowed: slower, but it works
        return Reply(call.call_id, pickle.dumps(result, protocol=5))
    try:
        return Reply(call.call_id, value, tuple(_write(descriptor, buffers)))
    finally:
        os.close(descriptor)


def _write(descriptor: int, buffers: Sequence[memoryview]) -> list[tuple[int, int]]:
    """Write the buffers one behind the other; returns (offset, size) of each."""
    places = []
    end = 0
    for buffer in buffers:
        start = position = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = start + buffer.nbytes
        while position < end:
            position += os.pwrite(descriptor, buffer[position - start :], position)
        places.append((start, buffer.nbytes))
    return places


def _failed(call: Call, reason: Reason, detail: str) -> Reply:
    return Reply(call.call_id, error=MediaError(reason, detail))


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"the child process was ended by {signal.Signals(-exit_code).name}"
    return f"the child process ended with exit code {exit_code}"
