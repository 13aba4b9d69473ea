"""What the teachers' and the student's training have in common, beside Ray Train (`liser_ray.training.workers`)."""

import hashlib

import numpy as np
import torch.distributed as dist


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Seed of PyTorch's random numbers in an epoch, 0..2³²-1.

    It depends on nothing that happened before, so that a resumed training is the same.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {epoch} {rank}".encode()).digest()[:4], "big")


def same_for_all(decision: bool, world_size: int) -> bool:
    """What the first of the processes that share a training decides, for all of them."""
    if world_size == 1:
        return decision
    decisions = [decision]
    dist.broadcast_object_list(decisions)
    return decisions[0]


def balanced_weights(truth: np.ndarray, n_labels: int) -> np.ndarray:
    """Weight of each label by the inverse of how often it occurs, float32 [K]; the mean over the recordings is 1.

    Args:
        truth: int [n], 0..K-1, the label of each recording; each label occurs.
        n_labels: K.
    """
    counts = np.bincount(truth, minlength=n_labels)
    return (counts.sum() / (n_labels * counts)).astype(np.float32)
