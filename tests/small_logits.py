"""Logits and softmaxes of networks that there are not, float64."""

import numpy as np
import torch


def softmaxes(n, k, seed=0):
    """[n, k]."""
    return torch.from_numpy(np.random.default_rng(seed).dirichlet((0.5,) * k, n))


def random_logits(n, k, seed=0):
    """[n, k], with gradients."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, k))).requires_grad_()
