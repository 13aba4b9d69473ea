"""AdamW with a learning rate and a weight decay for each student of a population.

PyTorch's takes one of each for all that a tensor holds, and here a tensor holds a weight of every student.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPS = 1e-8


class StackedAdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019), as `torch.optim.AdamW` does it with its default moments.

    Args:
        parameters: by name, float32 [P, ...].
        learning_rates: float32 [P].
        weight_decays: float32 [P].
    """

    def __init__(self, parameters: Mapping[str, Tensor], learning_rates: Tensor, weight_decays: Tensor):
        self._parameters = parameters
        self._rates, self._decays = learning_rates, weight_decays
        self._n_steps = 0
        self._means = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._squares = {name: torch.zeros_like(value) for name, value in parameters.items()}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Take a step along the gradients, and forget them.

        Args:
            factor: of all learning rates, by the schedule.
        """
        self._n_steps += 1
        beta_1, beta_2 = BETAS
        bias_1, bias_2 = 1 - beta_1**self._n_steps, 1 - beta_2**self._n_steps
        rates = self._rates * factor
        for name, value in self._parameters.items():
            assert value.grad is not None
            to_each = (-1, *[1] * (value.ndim - 1))
            mean = self._means[name].lerp_(value.grad, 1 - beta_1)
            square = self._squares[name].mul_(beta_2).addcmul_(value.grad, value.grad, value=1 - beta_2)
            value.mul_((1 - rates * self._decays).view(to_each))
            step = mean / (square.sqrt() / bias_2**0.5 + EPS)
            value.sub_(step.mul_((rates / bias_1).view(to_each)))
            value.grad = None

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs."""
        return {"n_steps": self._n_steps, "means": self._means, "squares": self._squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another's steps."""
        self._n_steps = state["n_steps"]
        for name in self._parameters:
            self._means[name].copy_(state["means"][name])
            self._squares[name].copy_(state["squares"][name])
