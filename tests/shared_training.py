"""A training that two processes share; in a module of its own, since a new process has to import it."""

from functools import partial

import torch
import torch.distributed as dist
from small_training import finish, make_training
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from liser_ray.training.common import same_for_all


def without_batch_norm(student, data_parallel=False):
    """Batch norm sees a process's own share of a batch: without it, two processes are exactly one."""
    for block in student.classifier.convolutions:
        block[1] = nn.Identity()
    return DistributedDataParallel(student) if data_parallel else student


def share_a_training(rank, folder, train):
    """What each of the two processes does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    wrap = partial(without_batch_norm, data_parallel=True)
    training = finish(make_training(train=train, wrap=wrap, rank=rank, world_size=2))
    assert same_for_all(rank == 0, 2)  # what the first one says
    weights = dict(training.student.state_dict())
    losses = [(score.loss, score.supervised, score.speech, score.video) for score in training.history]
    torch.save({"losses": losses, "weights": weights}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
