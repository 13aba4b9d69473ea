"""A training that two processes share; in a module of its own, since a new process has to import it."""

import torch
import torch.distributed as dist
from small_training import CPU, finish, in_double, make_training
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from liser_ray.training.fit import ProcessGroup, same_for_all


def without_batch_norm(student):
    """Batch norm sees a process's own share of a batch: without it, two processes are exactly one."""
    blocks = [nn.Sequential(block[0], nn.Identity(), *block[2:]) for block in student.classifier.convolutions]
    student.classifier.convolutions = nn.Sequential(*blocks)
    return in_double(student)


def share_a_training(rank, folder, train):
    """What each of the two processes does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    group = ProcessGroup(CPU, rank, 2, wrap=DistributedDataParallel)
    training = finish(make_training(train=train, wrap=without_batch_norm, group=group))
    assert same_for_all(rank == 0, 2)  # what the first one says
    losses = [(score.loss, score.terms) for score in training.history]
    torch.save({"losses": losses, "weights": training.model.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
