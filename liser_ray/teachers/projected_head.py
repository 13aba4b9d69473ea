"""EmoDistill's head: a projection for each teacher's embedding, and logits from all of them (Shome and Etemad 2024).

Stated are two disjoint feed-forward projections with GELU, a linguistic and a prosodic one, which are concatenated, and
a feed-forward network from there to the logits. Depth and width are ours: two layers each, 256 wide in between.
"""

from collections.abc import Iterable, Mapping

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


def is_projected(names: Iterable[str], prefix: str) -> bool:
    """Whether weights of these names, of a layer's prefix such as "classifier.", are such a head's."""
    return any(name.startswith(f"{prefix}projections.") for name in names)


def head_of_weights(weights: Mapping[str, Tensor], prefix: str) -> nn.Linear | ProjectedHead:
    """A head, linear or this one, that has the shapes of a layer's weights; KeyError: there are not all of them."""
    if not is_projected(weights, prefix):
        n_labels, n_inputs = weights[f"{prefix}weight"].shape
        return nn.Linear(n_inputs, n_labels)
    before, after = f"{prefix}projections.", "_projection.2.weight"
    sizes = {
        name.removeprefix(before).removesuffix(after): weight.shape[0]
        for name, weight in weights.items()
        if name.startswith(before) and name.endswith(after)
    }
    n_inputs = weights[f"{before}{next(iter(sizes), '')}_projection.0.weight"].shape[1]
    return ProjectedHead(n_inputs, sizes, weights[f"{prefix}logits.2.weight"].shape[0])


def _two_layers(n_inputs: int, n_hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_outputs))
