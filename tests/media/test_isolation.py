"""Calls in child processes: what goes wrong there costs one call, and nothing survives its owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import rough_calls

from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.runtime.errors import UserError


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(memory_mb=200, preload=["rough_calls"]) as made:
        yield made


def problem_of(sandbox, function, timeout_s=60.0):
    with pytest.raises(MediaError) as caught:
        sandbox.call(function, timeout_s=timeout_s)
    return caught.value


@pytest.mark.parametrize(
    ("function", "reason", "words"),
    [
        (rough_calls.segfault, Reason.CRASH, "SIGSEGV"),
        (rough_calls.abort, Reason.CRASH, "SIGABRT"),
        (rough_calls.leave, Reason.CRASH, "exit code 3"),
        (rough_calls.system_exit, Reason.CRASH, "SystemExit"),
        (rough_calls.fail, Reason.CRASH, "ValueError: a bug"),
        (rough_calls.not_to_be_pickled, Reason.CRASH, "pickle"),
        (rough_calls.grow, Reason.MEMORY, "over 200 MiB"),
        (rough_calls.ask_for_too_much, Reason.MEMORY, "allocate"),
        (rough_calls.media_error, Reason.NO_FACE, "none"),
    ],
)
def test_what_goes_wrong_costs_one_call_and_says_what_happened(sandbox, function, reason, words):
    problem = problem_of(sandbox, function)
    assert problem.reason == reason
    assert words in problem.detail
    start = time.monotonic()
    assert sandbox.call(rough_calls.add, 2, 3, timeout_s=30) == 5
    assert time.monotonic() - start < 5


def test_a_hang_in_c_code_ends_in_time(sandbox):
    sandbox.call(os.getpid, timeout_s=30)
    start = time.monotonic()
    assert problem_of(sandbox, rough_calls.hang, timeout_s=0.5).reason == Reason.TIMEOUT
    assert time.monotonic() - start < 3.4, "waits for a handler, which can't run"
    assert sandbox.call(rough_calls.add, 1, 1, timeout_s=30) == 2


def test_user_errors_pass_and_children_have_one_thread_and_no_gpu(sandbox):
    with pytest.raises(UserError, match="weights are missing"):
        sandbox.call(rough_calls.user_error, timeout_s=30)
    assert sandbox.call(os.getenv, "OMP_NUM_THREADS", timeout_s=30) == "1"
    assert sandbox.call(os.getenv, "CUDA_VISIBLE_DEVICES", timeout_s=30) == ""


def test_arrays_arrive_as_they_were_and_leave_no_descriptors_open(sandbox):
    found = sandbox.call(rough_calls.arrays, timeout_s=30)
    expected = rough_calls.arrays()
    for name in ("large", "strided", "small"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    found.large[0] = 1
    again = sandbox.call(rough_calls.arrays, timeout_s=30)
    assert (again.large[0], found.large[0]) == (0, 1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        sandbox.call(rough_calls.arrays, timeout_s=30)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_several_calls_in_flight():
    with Sandbox(workers=2, preload=["rough_calls"]) as sandbox:
        sandbox.call(os.getpid, timeout_s=30)
        futures = [sandbox.submit(rough_calls.nap, 0.1, timeout_s=30) for _ in range(6)]
        broken = sandbox.submit(rough_calls.leave, timeout_s=30)
        more = [sandbox.submit(rough_calls.add, k, k, timeout_s=30) for k in range(20)]
        assert len({future.result() for future in futures}) == 2
        assert [future.result() for future in more] == [2 * k for k in range(20)]
        assert isinstance(broken.exception(), MediaError)


def test_waiting_in_line_does_not_count(sandbox):
    futures = [sandbox.submit(rough_calls.nap, 0.5, timeout_s=3.0) for _ in range(8)]
    assert all(future.result() for future in futures)


@pytest.mark.slow
def test_memory_limit_holds_beside_native_libraries():
    with Sandbox(memory_mb=400, preload=["cv2", "torch", "onnxruntime", "onnx", "rough_calls"]) as sandbox:
        for _ in range(2):
            sandbox.call(rough_calls.with_sessions_open, timeout_s=60)
            assert problem_of(sandbox, rough_calls.grow).reason == Reason.MEMORY


def test_child_killed_while_idle(sandbox):
    for _ in range(3):
        os.kill(sandbox.call(os.getpid, timeout_s=30), signal.SIGKILL)
        assert sandbox.call(rough_calls.add, 1, 1, timeout_s=30) == 2
        os.kill(sandbox.call(os.getpid, timeout_s=30), signal.SIGKILL)
        time.sleep(0.3)
        assert sandbox.call(rough_calls.add, 1, 1, timeout_s=30) == 2


def test_fork_server_killed():
    with Sandbox(preload=["rough_calls"]) as sandbox:
        child = sandbox.call(os.getpid, timeout_s=30)
        server = sandbox.call(os.getppid, timeout_s=30)
        waiting = sandbox.submit(rough_calls.nap, 60, timeout_s=100)
        time.sleep(0.3)  # it is under way: one that is not would be done by the next child
        os.kill(server, signal.SIGKILL)
        assert waiting.exception(timeout=10).reason == Reason.CRASH
        assert_gone(child)
        assert sandbox.call(rough_calls.add, 1, 1, timeout_s=30) == 2


def test_closed_sandbox():
    sandbox = Sandbox(preload=["rough_calls"])
    child = sandbox.call(os.getpid, timeout_s=30)
    waiting = sandbox.submit(rough_calls.hang, timeout_s=100)
    sandbox.close()
    assert waiting.exception(timeout=10).reason == Reason.CRASH
    assert_gone(child)
    with pytest.raises(RuntimeError):
        sandbox.call(os.getpid, timeout_s=30)


def test_preload_that_fails_says_why():
    with Sandbox(preload=["no_such_module"]) as sandbox, pytest.raises(MediaError, match="no_such_module"):
        sandbox.call(os.getpid, timeout_s=30)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def assert_gone(*pids):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if all(gone(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError(f"still alive: {[pid for pid in pids if not gone(pid)]}")


SCRIPT = """
import os, time
print("main once", flush=True)
from liser_ray.media.isolation import Sandbox
import rough_calls
sandbox = Sandbox(preload=["rough_calls"])  # no guard: children must not run the script again
child, server = sandbox.call(os.getpid, timeout_s=30), sandbox.call(os.getppid, timeout_s=30)
sandbox.submit(rough_calls.hang, timeout_s=1000)
time.sleep(0.3)
print("pids", child, server, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["time.sleep(1000)", "raise SystemExit", "os._exit(1)"])
def test_nothing_survives_a_script(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(end=end))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout.readline() == "main once\n"
        pids = [int(word) for word in parent.stdout.readline().split()[1:]]
        if "sleep" in end:
            assert not any(gone(pid) for pid in pids)
            parent.kill()
        parent.wait(timeout=20)
    assert_gone(*pids)


@pytest.mark.slow
def test_inside_a_ray_actor(ray_session):
    """Ray's workers have threads and a ``__main__`` of their own."""
    paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}

    @ray.remote(num_cpus=1, max_restarts=0, runtime_env=paths)
    class Actor:
        def __init__(self):
            self.sandbox = Sandbox(memory_mb=200, preload=["rough_calls"])

        def reasons(self):
            found = []
            for function in (rough_calls.segfault, rough_calls.hang, rough_calls.leave, rough_calls.grow):
                try:
                    self.sandbox.call(function, timeout_s=1.0 if function is rough_calls.hang else 30)
                except MediaError as error:
                    found.append(error.reason)
                assert self.sandbox.call(rough_calls.add, 1, 1, timeout_s=30) == 2
            return found

        def hang(self):
            pids = [self.sandbox.call(pid_of, timeout_s=30) for pid_of in (os.getpid, os.getppid)]
            self.sandbox.submit(rough_calls.hang, timeout_s=1000)
            time.sleep(0.3)
            return os.getpid(), *pids

    actor = Actor.remote()
    assert ray.get(actor.reasons.remote()) == [Reason.CRASH, Reason.TIMEOUT, Reason.CRASH, Reason.MEMORY]
    actor_pid, *pids = ray.get(actor.hang.remote())
    os.kill(actor_pid, signal.SIGKILL)
    assert_gone(*pids)
