"""What runs in a Ray Train worker: its part of a run."""

from typing import Any

import ray
import ray.train
import ray.train.torch
import torch.distributed as dist

from liser_ray.errors import UserError
from liser_ray.student.training.run import ProcessGroup, train_run


def train_worker(arguments: dict[str, Any]) -> str:
    """Train a run with the other workers of its group.

    Checkpoints are the run's own, in its folder: a restarted worker goes on from there.

    Args:
        arguments: "job", a `RunJob`; "inputs", a reference to the `RunInputs`; "tell".

    Returns:
        "" or, if the training can't succeed, why: an exception would make Ray Train try again.
    """
    context = ray.train.get_context()
    world_size = context.get_world_size()

    def share_with_all(value: Any) -> Any:  # noqa: ANN401 (anything)
        if world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    group = ProcessGroup(
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=world_size,
        wrap=ray.train.torch.prepare_model,
        share_with_all=share_with_all,
    )
    try:
        train_run(arguments["job"], ray.get(arguments["inputs"]), group, arguments["tell"])
    except (UserError, FloatingPointError) as error:
        return str(error)
    return ""
