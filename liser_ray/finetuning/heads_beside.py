"""Heads beside a classifier that is tuned: they learn what teachers say, and are dropped when it is written."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from liser_ray.teachers.projected_head import ProjectedHead
from liser_ray.teachers.targets import embedding_of


class HeadsBeside(nn.Module):
    """Stands where a classifier's last layer is, and answers as that.

    Args:
        layer: the last layer, linear or EmoDistill's.
        n_inputs: F, of the vector that it reads, and the heads too.
        sizes: K of each head, by the name of its target; each is a linear layer.

    Attributes:
        taught: of the latest call with gradients, float [N, K] by name, with its graph.
    """

    def __init__(self, layer: nn.Module, n_inputs: int, sizes: Mapping[str, int]):
        super().__init__()
        self.layer = layer
        # "_head", since a ModuleDict refuses the names of its own methods, such as "type".
        self.heads = nn.ModuleDict({f"{name}_head": nn.Linear(n_inputs, size) for name, size in sizes.items()})
        self.taught: dict[str, Tensor] = {}

    def forward(self, vectors: Tensor) -> Tensor:
        """The layer's answer to float [N, F]."""
        heads = self.heads.items() if torch.is_grad_enabled() else ()
        self.taught = {name.removesuffix("_head"): one(vectors) for name, one in heads}
        return self.layer(vectors)


def put_heads_beside(model: nn.Module, last: str, n_inputs: int, sizes: Mapping[str, int]) -> None:
    """Give the last layer of a model, by its name, heads of these sizes; none of none."""
    if sizes:
        layer = model.get_submodule(last)
        model.set_submodule(last, HeadsBeside(layer, n_inputs, sizes).to(next(layer.parameters()).device))


def drop_heads(model: nn.Module) -> None:
    """Leave of a model's last layer what it was without the heads."""
    for name, module in [*model.named_modules()]:
        if isinstance(module, HeadsBeside):
            model.set_submodule(name, module.layer)


def answers_to_teachers(model: nn.Module) -> dict[str, Tensor]:
    """What the heads and projections of a model have made of its latest batch, by the names of the loss's terms."""
    found = dict[str, Tensor]()
    for module in model.modules():
        if isinstance(module, HeadsBeside):
            found |= module.taught
        elif isinstance(module, ProjectedHead):
            found |= {embedding_of(name): one for name, one in module.projected.items()}
    return found
