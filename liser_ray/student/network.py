"""The student: a convolutional and recurrent network of 105 thousand parameters (Pendyala et al. 2025).

========================  ==========================================================  ============================
block                     what                                                        3 s: frequency × time
========================  ==========================================================  ============================
1                         Conv2d 64 filters 3×3, BatchNorm, ReLU, MaxPool (2, 2)      64 × 94 to 32 × 47
2                         Conv2d 64 filters 3×3, BatchNorm, ReLU, MaxPool (4, 2)      to 8 × 23
3                         Conv2d 64 filters 3×1, BatchNorm, ReLU, MaxPool (4, 1)      to 2 × 23
4                         LSTM over time, 2 · 64 inputs, hidden size 64               to 64
5  supervised head        Linear 64 to K_S, and to one more for each attribute
6  distillation           Linear 64 to 32, ReLU, Linear 32 to K
========================  ==========================================================  ============================

There is a block 6 for each target that the student learns from by a head of its own; the paper has one for its speech
teacher (K is K_S), and its block 7 is the video teacher's. Of a teacher's embedding a projection learns, Linear 64 to
32, GELU, Linear 32 to D: EmoDistill (Shome and Etemad 2024) has disjoint ones with GELU, and does not say how deep they
are. A last layer without GELU is there because a vector that has hardly a negative part comes close to few directions.

With chunks, blocks 1 to 4 hear each of N chunks of a second by itself, and attention over the N vectors stands before
5 and 6: as many parameters as a vector has numbers, 64 in the paper's network, 88 in `strong`.

Filters and hidden size are settings; the table has the paper's. The first axis of a kernel or pool is frequency;
convolutions keep the size ("same" padding), pools drop what fills no whole cell. The paper does not say what follows
the LSTM (here its last step, which for a zero-padded recording lies in the padding), what stands between the two layers
of a distillation head (here a ReLU), or how weights start (here as PyTorch's layers do by default).
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liser_ray.student.chunks import CHUNK_FRAMES
from liser_ray.student.config import NetworkConfig, Pooling
from liser_ray.student.features import BandNormalisation, in_chunks
from liser_ray.student.front_end import N_BANDS
from liser_ray.teachers.targets import embedding_of

_DISTILLATION_HIDDEN_SIZE = 32
_BAND_POOLING = 2 * 4 * 4


class StudentLogits(NamedTuple):
    """Logits of all heads for the same inputs; unlike softmaxes, any real numbers.

    Attributes:
        supervised: float [B, K_S + A], of the head that learns from labels and that predicts, with attributes' values.
        teachers: float [B, K] each, of the heads that follow teachers, by the targets' names; of the projections float
            [B, D], by the embeddings' names.
    """

    supervised: Tensor
    teachers: dict[str, Tensor]


def _conv_block(c_in: int, c_out: int, kernel: tuple[int, int], pool: tuple[int, int]) -> nn.Sequential:
    """ReLU and max pooling change places, which changes no number and leaves ReLU a fourth or an eighth of the work."""
    convolution = nn.Conv2d(c_in, c_out, kernel, padding="same")
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.MaxPool2d(pool), nn.ReLU())


class FirstBlock(nn.Sequential):
    """Block 1, whose batch norm in training looks at the input in place of the convolution's maps.

    Mean and variance of a map follow from those of the pieces of the input under the kernel, wᵀm + b and wᵀΣw, and so
    the norm is part of the kernel. The maps are 24 to 64 times as large as the input, and nothing takes longer than to
    read and write them for the norm, forth and back: the same numbers but for rounding, in four fifths of the time.
    """

    def forward(self, spectrograms: Tensor) -> Tensor:  # noqa: D102
        if not self.training:
            return super().forward(spectrograms)
        convolution, norm, *others = cast("tuple[nn.Conv2d, nn.BatchNorm2d, nn.Module, nn.Module]", tuple(self))
        with torch.autocast(spectrograms.device.type, enabled=False):
            kernel, bias = _normalised(convolution, norm, spectrograms.to(norm.weight.dtype))
        maps = F.conv2d(spectrograms, kernel, bias, padding="same")
        for layer in others:
            maps = layer(maps)
        return maps


def _normalised(convolution: nn.Conv2d, norm: nn.BatchNorm2d, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel float [C, 1, 3, 3] and bias float [C] of a convolution with its batch norm in it, for these inputs."""
    height, width = convolution.kernel_size
    n_bands, n_frames = spectrograms.shape[2:]
    padded = F.pad(spectrograms.squeeze(1), (width // 2, width // 2, height // 2, height // 2))
    shifts = [(band, frame) for band in range(height) for frame in range(width)]
    pieces = torch.stack([padded[:, band:, frame:][:, :n_bands, :n_frames].flatten() for band, frame in shifts])
    mean, n = pieces.mean(dim=1), pieces.shape[1]
    pieces = pieces - mean[:, None]
    weight, own_bias = convolution.weight.flatten(1), cast("Tensor", convolution.bias)
    map_mean = weight @ mean + own_bias
    map_variance = ((weight @ (pieces @ pieces.T / n)) * weight).sum(dim=1)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    for running, found in ((norm.running_mean, map_mean), (norm.running_var, map_variance * n / (n - 1))):
        cast("Tensor", running).lerp_(found.detach(), cast("float", norm.momentum))
    scale = norm.weight * torch.rsqrt(map_variance + norm.eps)
    kernel = (weight * scale[:, None]).view_as(convolution.weight)
    # The convolution's own bias cancels; it is here since data-parallel training wants a gradient of it, which is 0.
    return kernel.to(memory_format=torch.channels_last), norm.bias + scale * (own_bias - map_mean)


class TimePooling(nn.Module):
    """Steps of the LSTM, or chunks, as one vector, float [B, steps, D] to [B, D]; those in the padding count too.

    "attention" takes their mean with weights softmax(uᵀh_t) over time, where u is learned (Mirsamadi et al. 2017).
    """

    def __init__(self, kind: Pooling, size: int):
        super().__init__()
        self.kind = kind
        # Without a bias, which the softmax would cancel.
        self.score = nn.Linear(size, 1, bias=False) if kind == "attention" else None

    def forward(self, steps: Tensor) -> Tensor:  # noqa: D102
        if self.score is not None:
            return (self.score(steps).softmax(dim=1) * steps).sum(dim=1)
        return steps.mean(dim=1) if self.kind == "mean" else steps[:, -1]


class EmotionClassifier(nn.Module):
    """Blocks 1 to 5: all that is needed to predict; in the paper's network 100,488 parameters for 8 labels.

    Args:
        n_labels: K_S, labels of the labeled set; 1 where only attributes are learned.
        config: variants; None: the paper's network.
        n_attributes: A, numbers such as arousal that it gives beside the labels.
    """

    def __init__(self, n_labels: int, config: NetworkConfig | None = None, n_attributes: int = 0):
        super().__init__()
        config = config or NetworkConfig()
        # The other kinds are the caller's: they need the whole recording, or nothing.
        self.normalisation = BandNormalisation("corpus") if config.normalisation == "corpus" else None
        first, second, third = config.filters
        self.convolutions = nn.Sequential(
            FirstBlock(*_conv_block(1, first, kernel=(3, 3), pool=(2, 2))),
            _conv_block(first, second, kernel=(3, 3), pool=(4, 2)),
            _conv_block(second, third, kernel=(3, 1), pool=(4, 1)),
        )
        # Convolutions are almost twice as fast with this order of the weights, batch norm and pooling too.
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        n_inputs = N_BANDS // _BAND_POOLING * third
        self.lstm = nn.LSTM(n_inputs, config.hidden_size, batch_first=True, bidirectional=config.bidirectional)
        self.encoded_size = config.hidden_size * (2 if config.bidirectional else 1)
        self.pooling = TimePooling(config.pooling, self.encoded_size)
        self.n_chunks = config.chunks
        self.over_chunks = TimePooling("attention", self.encoded_size) if config.chunks else None
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.encoded_size, n_labels + n_attributes)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Of the supervised head the labels' logits and then the attributes' values, float [B, K_S + A].

        Args:
            log_mel: float [B, 64, frames], at least 4 frames, with chunks 32; already normalised if by utterance.
        """
        return self.head(self.encode(log_mel))

    def encode(self, log_mel: Tensor) -> Tensor:
        """The vector that all heads read, float [B, D], of log-Mel spectrograms float [B, 64, frames]."""
        if self.normalisation is not None:
            log_mel = self.normalisation(log_mel)
        if self.n_chunks:
            chunks = in_chunks(log_mel, self.n_chunks).unflatten(2, (self.n_chunks, CHUNK_FRAMES))
            log_mel = chunks.transpose(1, 2).flatten(0, 1)
        maps = self.convolutions(log_mel.unsqueeze(1))
        features = maps.flatten(1, 2).transpose(1, 2)  # an input of the LSTM: filters × 2 bands
        # No autocast on a GPU: there it would run an LSTM in float16 when it is asked for bfloat16. Distillation's
        # gradients, which nothing scales in bfloat16, would then be too small for numbers of that kind.
        with torch.autocast("cuda", enabled=False) if features.is_cuda else nullcontext():
            steps, _ = self.lstm(features.float() if features.is_cuda else features)  # a map may be in half precision
        vectors = self.pooling(steps)
        if self.over_chunks is not None:
            vectors = self.over_chunks(vectors.unflatten(0, (-1, self.n_chunks)))
        return self.dropout(vectors)


class StudentNetwork(nn.Module):
    """The network as it is trained: a classifier, and heads that are of no use once it is.

    In the paper's network 105,143 parameters for 8 speech and 7 video labels, 104,947 for 6 and 7.

    Args:
        n_labels: K_S, labels of the labeled set: 8 for RAVDESS, 6 for CREMA-D.
        heads: how many values each target has, by name; their order decides on first weights.
        config: variants; None: the paper's network.
        projections: how many dimensions the embedding has that is learned of a target, by the target's name.
        n_attributes: A, numbers that are learned beside the labels.

    Attributes:
        classifier: blocks 1 to 5; this alone, with its weights, is the network for prediction.
    """

    def __init__(
        self,
        n_labels: int,
        heads: Mapping[str, int],
        config: NetworkConfig | None = None,
        projections: Mapping[str, int] | None = None,
        n_attributes: int = 0,
    ):
        super().__init__()
        self._names = tuple(heads), tuple(projections or {})
        self.classifier = EmotionClassifier(n_labels, config, n_attributes)
        size = self.classifier.encoded_size
        # "_head", since a ModuleDict refuses the names of its own methods, such as "type".
        self.heads = nn.ModuleDict({f"{name}_head": _two_layers(size, nn.ReLU(), n) for name, n in heads.items()})
        self.projections = nn.ModuleDict(
            {f"{name}_projection": _two_layers(size, nn.GELU(), n) for name, n in (projections or {}).items()}
        )

    def forward(self, log_mel: Tensor) -> StudentLogits:
        """Logits of all heads, of what the classifier takes."""
        encoded = self.classifier.encode(log_mel)
        heads, projections = self._names
        teachers = {name: self.heads[f"{name}_head"](encoded) for name in heads}
        teachers |= {embedding_of(name): self.projections[f"{name}_projection"](encoded) for name in projections}
        return StudentLogits(self.classifier.head(encoded), teachers)


def count_parameters(module: nn.Module) -> int:
    """Trained numbers of a network; batch norm's running statistics are none."""
    return sum(parameter.numel() for parameter in module.parameters())


def _two_layers(n_inputs: int, activation: nn.Module, n_values: int) -> nn.Sequential:
    hidden = _DISTILLATION_HIDDEN_SIZE
    return nn.Sequential(nn.Linear(n_inputs, hidden), activation, nn.Linear(hidden, n_values))
