"""The Ray cluster that a job runs on."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from joblib import cpu_count
from ray.exceptions import ActorDiedError, RayTaskError

from liser_ray.runtime.errors import UserError
from liser_ray.runtime.quiet import stderr_away

log = logging.getLogger(__name__)

# Ray's own tasks (listing, reading, filtering, writing) each ask for a CPU while the pools hold theirs for the whole
# job: without two to spare a small cluster waits for itself for ever.
CPUS_FOR_RAY = 2

_started_by_us = False


def start_ray() -> None:
    """Join a cluster, else start one on this machine.

    The cluster is what RAY_ADDRESS names (in a submitted job Ray sets it), or one that ``ray start`` has begun on this
    machine; RAY_ADDRESS=local asks for one of our own in any case.
    """
    global _started_by_us
    if ray.is_initialized():
        return
    # What its workers print is about pools and processes; what matters is in the job's own output.
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    # Ray's own tasks wait for files most of the time: they come on top of the cores that this process may use (of a
    # container, or of a Slurm job).
    ours: dict[str, Any] = {"num_cpus": cpu_count() + CPUS_FOR_RAY, "include_dashboard": False}
    address = os.environ.get("RAY_ADDRESS")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    if address in {"", None, "local"}:
        try:
            ray.init(address, **ours, **quiet)
            _started_by_us = True
        except ValueError:  # how Ray says that there is a cluster, which has the CPUs it has
            ray.init(**quiet)
    else:
        ray.init(**quiet)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's handler ends the process without a word
    if not _started_by_us:
        log.info("Joined the Ray cluster at %s", ray.get_runtime_context().gcs_address)


def hush_restarts() -> None:
    """Let nobody read what Ray says, once in a process, of the first actor that may be restarted.

    It warns (core_worker.cc, Ray 2.60) of arguments that may be lost by then, also for the pools of Ray Data, which
    holds them as long as it has the pools. Standard error is away while it says so of an actor that nobody needs.
    """
    with stderr_away():
        actor: Any = ray.remote(num_cpus=0, max_restarts=1)(_Nobody).remote(ray.put(None))
    ray.kill(actor)


class _Nobody:
    def __init__(self, argument: None):
        pass


@contextmanager
def users_errors() -> Iterator[None]:
    """A `UserError` that a task or an actor of Ray raised is one here, without a traceback of Ray's."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ActorDiedError as error:
        # Of what an actor's constructor raised, Ray keeps the traceback's text alone.
        _, is_users, words = str(error).rpartition(f"{UserError.__module__}.{UserError.__qualname__}: ")
        if is_users:
            raise UserError(words.strip()) from None
        raise


def cluster_size() -> tuple[float, float]:
    """CPUs and GPUs that the cluster has now; of a cluster on this machine its cores."""
    resources = ray.cluster_resources()
    return resources.get("CPU", 0.0) - (CPUS_FOR_RAY if _started_by_us else 0), resources.get("GPU", 0.0)


def cpus_of_nodes() -> list[float]:
    """CPUs of each node: no task or actor gets more, however many the cluster has."""
    return [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]


def ray_resources() -> tuple[float, float, int]:
    """CPUs and GPUs that Ray counts with, those for its own tasks included, and how many nodes work."""
    resources = ray.cluster_resources()
    nodes = sum(node["Alive"] and node["Resources"].get("CPU", 0) >= 1 for node in ray.nodes())
    return resources.get("CPU", 0.0), resources.get("GPU", 0.0), max(1, nodes)
