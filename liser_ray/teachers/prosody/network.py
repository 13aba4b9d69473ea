"""What is made of the descriptors: a 2-D network of residual blocks (He et al. 2016), a distribution and an embedding.

That it is such a network on such descriptors is Shome & Etemad's (ICASSP 2024); its size, how it pools and what else it
needs are ours.
"""

import torch
from torch import Tensor, nn

from liser_ray.teachers.prosody.descriptors import NAMES

WIDTHS = (16, 32, 64)
"""Channels of the blocks, each of which halves descriptors and frames."""
EMBEDDING_SIZE = 64

_STEM_FRAMES = 4


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what goes in, at half the size."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))
        self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride=2, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, maps: Tensor, heard: Tensor) -> Tensor:
        """Float [N, n_out, D / 2, T / 2], both rounded up, of [N, n_in, D, T]; 0 where not bool [N, 1, 1, T / 2]."""
        return torch.relu(self.second(self.first(maps) * heard) + self.shortcut(maps)) * heard


class ProsodyNetwork(nn.Module):
    """Logits of K labels from descriptors of any number of frames.

    They are standardised by what they are on the training recordings, which stays with the network. What a recording
    gives does not depend on the longer ones that it goes in with: frames after its end are zero in every layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_labels: int, dropout: float = 0.0):
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("deviation", torch.ones(len(NAMES)))
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTHS[0], (3, 5), stride=(1, _STEM_FRAMES), padding=(1, 2), bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False))
        rows = len(NAMES)
        for _ in self.blocks:
            rows = -(-rows // 2)
        self.embedding = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(2 * WIDTHS[-1] * rows, EMBEDDING_SIZE), nn.GELU(), nn.Dropout(dropout)
        )
        self.classifier = nn.Linear(EMBEDDING_SIZE, n_labels)

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Take over what the descriptors are on the training recordings, each float [25]."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(1e-4))

    def embed(self, descriptors: Tensor, n_frames: Tensor) -> Tensor:
        """Float [N, 64], mean and deviation over time of what the blocks find.

        Args:
            descriptors: float32 [N, 25, T].
            n_frames: int64 [N], how many of the T frames are a recording's, at least one.
        """
        maps = ((descriptors - self.mean[:, None]) / self.deviation[:, None])[:, None]
        heard = (torch.arange(maps.shape[3], device=maps.device) < n_frames[:, None])[:, None, None]
        maps, heard = maps * heard, heard[..., ::_STEM_FRAMES]
        maps = self.stem(maps) * heard
        for block in self.blocks:
            heard = heard[..., ::2]
            maps = block(maps, heard)
        count = heard.sum(3)
        mean = maps.sum(3) / count
        deviation = (((maps - mean[..., None]) * heard).square().sum(3) / count + 1e-6).sqrt()
        return self.embedding(torch.cat([mean, deviation], 1).flatten(1))

    def forward(self, descriptors: Tensor, n_frames: Tensor) -> Tensor:
        """Logits float [N, K]; of what: see `embed`."""
        return self.classifier(self.embed(descriptors, n_frames))
