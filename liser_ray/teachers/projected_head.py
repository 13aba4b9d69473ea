"""EmoDistill's head: a projection for each teacher's embedding, and logits from all of them (Shome and Etemad 2024).

Stated are two disjoint feed-forward projections with GELU, a linguistic and a prosodic one, which are concatenated, and
a feed-forward network from there to the logits. Depth and width are ours: two layers each, 256 wide in between.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

HIDDEN_SIZE = 256


class ProjectedHead(nn.Module):
    """Stands where a classifier's last layer is.

    Args:
        n_inputs: F, of the vector that it reads.
        sizes: D of each projection, by the name of the target whose embedding it comes close to.
        n_labels: K.

    Attributes:
        projected: of the latest call in training, float [N, D] by name, with its graph.
    """

    def __init__(self, n_inputs: int, sizes: Mapping[str, int], n_labels: int):
        super().__init__()
        # "_projection", since a ModuleDict refuses the names of its own methods, such as "type".
        self.projections = nn.ModuleDict(
            {f"{name}_projection": _two_layers(n_inputs, HIDDEN_SIZE, size) for name, size in sizes.items()}
        )
        self.logits = _two_layers(sum(sizes.values()), HIDDEN_SIZE, n_labels)
        self.projected: dict[str, Tensor] = {}

    @property
    def out_features(self) -> int:
        """K, as a linear layer calls it."""
        last = self.logits[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits [N, K] of float [N, F]."""
        projected = {name.removesuffix("_projection"): one(vectors) for name, one in self.projections.items()}
        self.projected = projected if self.training else {}
        return self.logits(torch.cat(list(projected.values()), dim=1))


def head_of_weights(weights: Mapping[str, Tensor], prefix: str) -> nn.Linear | ProjectedHead:
    """A head that weights fit which begin with a prefix, such as "classifier.": linear, or this one. KeyError: none."""
    sizes = {
        name.removeprefix(f"{prefix}projections.").removesuffix("_projection.2.weight"): tuple(weight.shape)
        for name, weight in weights.items()
        if name.startswith(f"{prefix}projections.") and name.endswith("_projection.2.weight")
    }
    if not sizes:
        n_labels, n_inputs = weights[f"{prefix}weight"].shape
        return nn.Linear(n_inputs, n_labels)
    first = next(iter(sizes))
    n_inputs = weights[f"{prefix}projections.{first}_projection.0.weight"].shape[1]
    n_labels = weights[f"{prefix}logits.2.weight"].shape[0]
    return ProjectedHead(n_inputs, {name: shape[0] for name, shape in sizes.items()}, n_labels)


def _two_layers(n_inputs: int, n_hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_outputs))
