"""What runs in a Ray Train worker: its part of a run."""

from typing import Any

import ray
import ray.train
import ray.train.torch

from liser_ray.runtime.errors import UserError
from liser_ray.student.training.run import ProcessGroup, train_run


def process_group() -> ProcessGroup:
    """This worker's place among those that share a run."""
    context = ray.train.get_context()
    return ProcessGroup(
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        wrap=ray.train.torch.prepare_model,
    )


def train_worker(arguments: dict[str, Any]) -> str:
    """Train a run with the other workers of its group.

    Checkpoints are the run's own, in its folder: a restarted worker goes on from there.

    Args:
        arguments: "job", a `RunJob`; "inputs", a reference to the `RunInputs`; "tell".

    Returns:
        "" or, if the training can't succeed, why: an exception would make Ray Train try again.
    """
    try:
        train_run(arguments["job"], ray.get(arguments["inputs"]), process_group(), arguments["tell"])
    except (UserError, FloatingPointError) as error:
        return str(error)
    return ""
