"""The Ray cluster that a job runs on."""

import logging
import os
from typing import Any

import ray

# Ray's own tasks (listing, reading, filtering, writing) each ask for a CPU while the pools hold theirs for the whole
# job: without two to spare a small cluster waits for itself for ever.
CPUS_FOR_RAY = 2


def start_ray() -> None:
    """Join the cluster that the environment names (a submitted job), else start one on this machine."""
    if ray.is_initialized():
        return
    # What its workers print is about pools and processes; what matters is in the job's own output.
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        # Ray's own tasks wait for files most of the time: they come on top of the cores.
        ray.init(num_cpus=(os.cpu_count() or 1) + CPUS_FOR_RAY, include_dashboard=False, **quiet)
