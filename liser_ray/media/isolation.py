"""Calls that can't hurt the caller: in child processes with a wall-clock and a memory limit.

A crash, a hang in C code or a memory bomb costs the one call; the next one finds a new child. Three take part:

* `Sandbox`, in the caller: a thread for each child sends it a call, and looks every 20 ms whether the reply is there or
  the child has used up its time or memory.
* The fork server: a small clean process of one thread that has the imports done, forks a child in milliseconds, and
  knows how it ended. The caller can't fork: it may have hundreds of threads (a Ray actor). And what `multiprocessing`
  starts without forking the caller (spawn, and its own fork server) imports the caller's ``__main__`` again.
* The children. What they give back lies in a file in memory whose descriptor they send: through a pipe or a socket,
  a span's 36 MB would take half as long again.

If the caller is killed, the fork server and all children end.
"""

import contextlib
import ctypes
import importlib
import mmap
import os
import pickle
import queue
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, Self, TypeVar

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.runtime.errors import UserError

Result = TypeVar("Result")

DEFAULT_MEMORY_MB = 1024
"""Decoding 1080p takes about 110 MiB, with YuNet 150 MiB, a span's result 35 MiB; 4K four times as much to decode."""

_WATCH_INTERVAL_MS = 20
_INLINE_BYTES = 64 << 10  # smaller arrays travel in the pickle
_MAX_CALLS_PER_CHILD = 500  # so that a slow leak in some C library never adds up to a false memory error
_END_WITHIN_S = 3.0  # of a killed child; one that waits for a network disk in the kernel may take longer
_PR_SET_PDEATHSIG = 1
_TAKEN = b"\1"
_ALIGNMENT = 64
_SIZES_BYTES = 4096  # of 512 arrays
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
        """Start the fork server; it gets ready in the background.

        Args:
            workers: children, at most this many calls at a time; more wait in line.
            memory_mb: what a child may take beyond its imports, in MiB.
            preload: modules that a new child finds imported. They must not start threads when imported.
        """
        self._memory_mb, self._preload = memory_mb, preload
        self._lock = threading.Lock()
        self._server: _ForkServer | None = _ForkServer(preload)
        self._calls: queue.SimpleQueue[tuple[bytes, float, Future[Any]] | None] = queue.SimpleQueue()
        self._workers = workers
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[..., Result], *args: object, timeout_s: float) -> "Future[Result]":
        """Run ``function(*args)`` in a child; the time counts from when a child takes it up.

        Args:
            function: one that can be imported by its module's name: not a lambda, not from a script.
            args: whatever can be pickled.
            timeout_s: wall-clock limit in seconds.

        Returns:
            A future with the result, or with what `call` raises.
        """
        payload, future = pickle.dumps((function, args)), Future[Result]()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._server is None:
                raise RuntimeError("the sandbox is closed")
            self._calls.put((payload, timeout_s, future))
        return future

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
            server, self._server = self._server, None
        if server is not None:
            server.stop()
            for _ in range(self._workers):
                self._calls.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        """A thread's work: one call after the other, in a child that is replaced when it ends."""
        child: _Child | None = None
        while (call := self._calls.get()) is not None:
            payload, timeout_s, future = call
            result: Any = None
            problem: Exception | None = None
            for _ in range(2):  # a child that was killed while it was idle is not the call's fault
                try:
                    if child is None or not child.alive:
                        child = _Child(self._live_server(), self._memory_mb)
                    result, problem = child.run(payload, timeout_s)
                    break
                except Exception as error:  # of a machine without a free process or descriptor, too: a call's end
                    problem = MediaError(Reason.CRASH, str(error))
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)

    def _live_server(self) -> "_ForkServer":
        with self._lock:
            if self._server is None:
                raise ConnectionError("the sandbox was closed")
            if not self._server.alive:
                self._server.stop()
                self._server = _ForkServer(self._preload)
            return self._server


class _Child:
    """A child as the caller sees it."""

    def __init__(self, server: "_ForkServer", memory_mb: int):
        self.alive = True
        self._server, self._memory_mb, self._calls_left = server, memory_mb, _MAX_CALLS_PER_CHILD
        self._channel, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._pid = server.ask(b"fork", theirs.fileno())
        if isinstance(self._pid, str):
            raise ConnectionError(self._pid)
        self._limit_kb = memory_kb(self._pid) + (memory_mb << 10)
        self._readable = select.poll()
        self._readable.register(self._channel, select.POLLIN)

    def run(self, payload: bytes, timeout_s: float) -> tuple[Any, Exception | None]:
        """A call's result, and what went wrong.

        Raises:
            ConnectionError: the child was gone before it took up the call.
        """
        try:
            _send(self._channel, payload)
            taken = self._channel.recv(len(_TAKEN))
        except OSError:
            taken = b""
        if not taken:
            raise ConnectionError(self._end())
        until = time.monotonic() + timeout_s
        while not self._readable.poll(_WATCH_INTERVAL_MS):
            over_time = time.monotonic() > until
            if over_time or memory_kb(self._pid) > self._limit_kb:
                self._end()
                if over_time:
                    return None, MediaError(Reason.TIMEOUT, f"over {timeout_s:g} s")
                return None, MediaError(Reason.MEMORY, f"over {self._memory_mb} MiB")
        try:
            result, problem = _receive(self._channel)
        except ConnectionError:
            return None, MediaError(Reason.CRASH, self._end())
        except Exception as error:  # a result that can't be unpickled here
            result, problem = None, error
        self._calls_left -= 1
        if not self._calls_left:
            self._end()
        return result, problem

    def _end(self) -> str:
        """Kill it, if it is not dead yet; how it ended, in words."""
        self.alive = False
        self._channel.close()
        try:
            exit_code = self._server.ask(str(self._pid).encode())
        except ConnectionError as error:
            return str(error)
        if exit_code is not None and exit_code < 0:
            return f"the child process was ended by {signal.Signals(-exit_code).name}"
        return f"the child process ended with exit code {exit_code}"


class _ForkServer:
    """The fork server as the caller sees it."""

    def __init__(self, preload: Sequence[str]):
        self.alive = True
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        code = "from liser_ray.media.isolation import serve_forks; serve_forks()"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno()), *preload],
                env=os.environ | _SINGLE_THREADED | {"PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the caller, who then closes the connection
            )

    def ask(self, request: bytes, *descriptors: int) -> Any:  # noqa: ANN401 (what was sent)
        """Answer to ``fork`` (with a socket): the process id, or why not. To a process id: its exit code, once killed.

        Raises:
            ConnectionError: the fork server is gone.
        """
        try:
            with self._lock:
                socket.send_fds(self._control, [request], descriptors)
                return _receive(self._control)
        except OSError as error:
            self.alive = False
            raise ConnectionError("the process that starts the children ended") from error

    def stop(self) -> None:
        """End it and all children."""
        self.alive = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with self._lock:
            self._control.close()


def serve_forks() -> NoReturn:
    """Main of the fork server, whose command line has the socket's descriptor and the modules to import."""
    descriptor, *preload = sys.argv[1:]
    control = socket.socket(fileno=int(descriptor))
    failure = ""
    try:
        for module in preload:
            importlib.import_module(module)
    except BaseException:
        failure = f"a preloaded module can't be imported:\n{traceback.format_exc()}"
    with contextlib.suppress(OSError):
        while True:
            request, channels, _, _ = socket.recv_fds(control, 32, 1, socket.MSG_CMSG_CLOEXEC)
            if not request:
                break
            answer = (failure or _fork(control, channels[0])) if channels else _ended(int(request))
            _send(control, answer)
    if os.getpgrp() == os.getpid():  # the caller made it the leader of a group, in which all children are
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def memory_kb(pid: int) -> int:
    """Memory of a process that is not a file's, in KiB; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon:", "RssShmem:")))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _fork(control: socket.socket, channel: int) -> int | str:
    server_pid = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(channel)
        return f"no child process can be started: {error}"
    if pid:
        os.close(channel)
        return pid
    try:
        control.close()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == server_pid:
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
                score.write("1000")  # where memory runs out, this process is the one to lose
            _serve_calls(socket.socket(fileno=channel))
    finally:
        os._exit(0)


def _ended(pid: int) -> int | None:
    os.kill(pid, signal.SIGKILL)  # which a child that ended by itself no longer heeds
    until = time.monotonic() + _END_WITHIN_S
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def _serve_calls(channel: socket.socket) -> None:
    """Main of a child, until the caller closes the socket. Whatever a call raises becomes a value."""
    while True:
        payload = _receive(channel)
        channel.sendall(_TAKEN)
        try:
            function, args = pickle.loads(payload)
            _send(channel, (function(*args), None))
        except (MediaError, UserError) as error:
            _send(channel, (None, error))
        except MemoryError as error:
            _send(channel, (None, MediaError(Reason.MEMORY, str(error) or "out of memory")))
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            _send(channel, (None, MediaError(Reason.CRASH, words)))


def _send(channel: socket.socket, value: object) -> None:
    """Send a value, of which only sizes and a descriptor go through the socket: it lies in a file in memory."""
    arrays: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes >= _INLINE_BYTES:
            arrays.append(view)
        return view.nbytes < _INLINE_BYTES

    parts: list[bytes | memoryview] = [pickle.dumps(value, protocol=5, buffer_callback=stays), *arrays]
    with open(os.memfd_create("liser-value"), "wb") as file:
        for part in parts:
            file.write(part)
            file.write(bytes(-len(part) % _ALIGNMENT))
        file.flush()
        socket.send_fds(channel, [struct.pack(f"<{len(parts)}Q", *map(len, parts))], [file.fileno()])


def _receive(channel: socket.socket) -> Any:  # noqa: ANN401 (what was sent)
    """What `_send` was given; its large arrays lie where they were written.

    Raises:
        ConnectionError: the other end was closed.
    """
    sizes, descriptors, _, _ = socket.recv_fds(channel, _SIZES_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    if not sizes:
        raise ConnectionError("closed")
    try:
        memory, parts, start = memoryview(mmap.mmap(descriptors[0], 0)), [], 0
    finally:
        os.close(descriptors[0])
    for size in struct.unpack(f"<{len(sizes) // 8}Q", sizes):
        parts.append(memory[start : start + size])
        start += -(-size // _ALIGNMENT) * _ALIGNMENT
    return pickle.loads(parts[0], buffers=parts[1:])
