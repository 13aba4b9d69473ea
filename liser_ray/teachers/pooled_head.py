"""A small head on a frozen speech model: all its layers weighed, mean and deviation over time, and a classifier."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.projected_head import ProjectedHead, head_of_weights
from liser_ray.teachers.weights import load_strictly, read_checkpoint, save_checkpoint

HEAD_FILE = "head.safetensors"
HEAD_CONFIG = "head_config.json"
"""Names the base as an adapter's configuration does."""


class LayerStatistics(nn.Module):
    """Mean and standard deviation over time of each layer of a frozen speech model."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    @torch.no_grad()
    def forward(self, **inputs: Tensor) -> Tensor:
        """Float32 [N, L, 2 · D] of the model's inputs, which are all of one length."""
        layers = self.model(**inputs, output_hidden_states=True).hidden_states
        return torch.stack([torch.cat(torch.std_mean(one.float(), dim=1, correction=0)[::-1], -1) for one in layers], 1)


class PooledHead(nn.Module):
    """Logits from the statistics of layers; L layers, F numbers of each.

    They are standardised by what they are on the training recordings, which stays with the head. The classifier is a
    linear layer, or with ``projections`` EmoDistill's, of these sizes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_layers: int, n_features: int, n_labels: int, projections: Mapping[str, int] | None = None):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_layers, n_features))
        self.register_buffer("deviation", torch.ones(n_layers, n_features))
        self.layers = nn.Parameter(torch.zeros(n_layers))
        self.classifier: nn.Linear | ProjectedHead = (
            ProjectedHead(n_features, projections, n_labels) if projections else nn.Linear(n_features, n_labels)
        )

    @property
    def n_labels(self) -> int:
        """K."""
        return self.classifier.out_features

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Take over what the features are on the training recordings, each float [L, F]."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(1e-4))

    def forward(self, statistics: Tensor) -> Tensor:
        """Logits [N, K] of float [N, L, F]."""
        weighed = torch.einsum("nlf,l->nf", (statistics - self.mean) / self.deviation, self.layers.softmax(0))
        return self.classifier(weighed)


class Logits(NamedTuple):
    """As Transformers' classifiers give them."""

    logits: Tensor


class HeadedModel(nn.Module):
    """A head on a speech model, in place of a classifier of Transformers; ``statistics`` may be shared."""

    def __init__(self, statistics: nn.Module, head: PooledHead):
        super().__init__()
        self.statistics, self.head = statistics, head

    def forward(self, **inputs: Tensor) -> Logits:
        """Logits [N, K] of the model's inputs."""
        return Logits(self.head(self.statistics(**inputs)))


def read_head(path: Path) -> PooledHead:
    """A head from its file, frozen; UserError if it is none."""
    checkpoint = read_checkpoint(path)
    try:
        n_layers, n_features = checkpoint.tensors["mean"].shape
        head = PooledHead(n_layers, n_features, 1)
        head.classifier = head_of_weights(checkpoint.tensors, "classifier.")
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is no head that finetune_speech_teacher.py has made.") from error
    return load_strictly(head, checkpoint, "a head on a frozen speech model")


def write_head(folder: Path, head: PooledHead, base: str, revision: str | None) -> None:
    """Write a head and where its base is, as `base_address` reads it."""
    save_checkpoint(folder / HEAD_FILE, head.state_dict())
    (folder / HEAD_CONFIG).write_text(json.dumps({"base_model_name_or_path": base, "revision": revision}))
