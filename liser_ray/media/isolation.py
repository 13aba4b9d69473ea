"""Calls that can't hurt the caller: in child processes with a wall-clock and a memory limit.

A crash, a hang in C code or a memory bomb costs the one call; the next one finds a new child. The children are not
forked from the caller, who may have hundreds of threads (a Ray actor), nor do they import the caller's ``__main__``
again: both hang on a *nursery* (`liser_ray.media.nursery`), a small clean process that has the imports done and forks
a child in milliseconds. If the caller is killed, the nursery and all children end.
"""

import mmap
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, Self, TypeVar

from liser_ray.media.nursery import Call, Reply
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.runtime.errors import UserError

Result = TypeVar("Result")

DEFAULT_MEMORY_MB = 1024
"""Decoding 1080p takes about 110 MiB, with YuNet 150 MiB, a span's result 75 MiB; 4K four times as much to decode."""

_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",  # the media stage has no use for a GPU, and a context there would take its memory
}


def check_system() -> None:
    """Refuse a system without what limits the children.

    Raises:
        UserError: it is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise UserError(
            "Videos are decoded in child processes that only Linux can hold to their limits: plan and label on Linux, "
            "on Windows in WSL, on a Mac in a container (deploy/Dockerfile). A trained student runs anywhere."
        )


class Sandbox:
    """Child processes that run one call at a time each. Thread-safe; a context manager."""

    def __init__(self, workers: int = 1, memory_mb: int = DEFAULT_MEMORY_MB, preload: Sequence[str] = ()):
        """Start the nursery; it gets ready in the background.

        Args:
            workers: children, at most this many calls at a time; more wait in line.
            memory_mb: what a child may take beyond its imports, in MiB.
            preload: modules that a new child finds imported. They must not start threads when imported.
        """
        self._arguments = [str(workers), str(memory_mb), ",".join(preload)]
        self._lock = threading.Lock()
        self._nursery: _Nursery | None = _Nursery(self._arguments)

    def submit(self, function: Callable[..., Result], *args: object, timeout_s: float) -> "Future[Result]":
        """Run ``function(*args)`` in a child; the time counts from when a child takes it up.

        Args:
            function: one that can be imported by its module's name: not a lambda, not from a script.
            args: whatever can be pickled.
            timeout_s: wall-clock limit in seconds.

        Returns:
            A future with the result, or with what `call` raises. Large arrays in the result are not copied.
        """
        payload = pickle.dumps((function, args))
        with self._lock:
            if self._nursery is None:
                raise RuntimeError("the sandbox is closed")
            if not self._nursery.alive:
                self._nursery.stop()
                self._nursery = _Nursery(self._arguments)
            return self._nursery.submit(payload, timeout_s)

    def call(self, function: Callable[..., Result], *args: object, timeout_s: float) -> Result:
        """`submit`, and wait for the result.

        Raises:
            MediaError: TIMEOUT, MEMORY or CRASH (the child died, or the function raised anything unforeseen); or the
                MediaError that the function raised.
            UserError: if the function raised one.
        """
        return self.submit(function, *args, timeout_s=timeout_s).result()

    def close(self) -> None:
        """End all children at once; calls under way end as CRASH."""
        with self._lock:
            if self._nursery is not None:
                self._nursery.stop()
            self._nursery = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Nursery:
    """The nursery's process as the caller sees it."""

    def __init__(self, arguments: Sequence[str]):
        self._connection, theirs = Pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from liser_ray.media.nursery import main; main()",
                str(theirs.fileno()),
                *arguments,
            ],
            env=os.environ | _SINGLE_THREADED | {"PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the caller, who then closes the connection
        )
        theirs.close()
        self.alive = True
        self._calls: dict[int, tuple[Future[Any], int]] = {}
        self._next_id = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._receive, args=(self._connection,), daemon=True).start()

    def submit(self, payload: bytes, timeout_s: float) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        results_fd = os.memfd_create("liser-result", os.MFD_CLOEXEC)
        with self._lock:
            call_id = self._next_id = self._next_id + 1
            self._calls[call_id] = future, results_fd
            call = Call(call_id, payload, timeout_s, f"/proc/{os.getpid()}/fd/{results_fd}")
            try:
                self._connection.send(call)
            except OSError:
                self.alive = False
        if not self.alive:
            self._end_all("the process that starts the children ended")
        return future

    def stop(self) -> None:
        self.alive = False
        self._process.kill()  # its children end with it
        self._process.wait()

    def _receive(self, connection: Connection) -> None:
        """Hand replies to their futures until the nursery ends."""
        reason = "the process that starts the children ended"
        try:
            while True:
                reply: Reply = connection.recv()
                if reply.call_id is None:
                    reason = str(reply.error)
                    break
                with self._lock:
                    future, results_fd = self._calls.pop(reply.call_id)
                _resolve(future, reply, results_fd)
        except (EOFError, OSError):
            pass
        self.alive = False
        self._end_all(reason)
        connection.close()

    def _end_all(self, detail: str) -> None:
        with self._lock:
            ended, self._calls = self._calls, {}
        for future, results_fd in ended.values():
            os.close(results_fd)
            future.set_exception(MediaError(Reason.CRASH, detail))


def _resolve(future: "Future[Any]", reply: Reply, results_fd: int) -> None:
    """Set the future's result from a reply and the memory that the child wrote its arrays to."""
    try:
        if reply.error is not None:
            future.set_exception(reply.error)
            return
        buffers: list[memoryview] = []
        if reply.buffers:
            view = memoryview(mmap.mmap(results_fd, 0))
            buffers = [view[start : start + n_bytes] for start, n_bytes in reply.buffers]
        future.set_result(pickle.loads(reply.value, buffers=buffers))
    except Exception as error:  # a result that can't be unpickled here
        future.set_exception(error)
    finally:
        os.close(results_fd)
