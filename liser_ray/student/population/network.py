"""The networks of many students as one: grouped convolutions and batched matrix products.

Each weight of the P students is stacked along a new first axis. A convolution over all students' channels in P groups,
batch norm over as many, and a matrix product for each student are all that their own layers do, with fewer and larger
calls: a network of 105 thousand parameters leaves a GPU idle, a hundred of them do not.
"""

from collections.abc import Sequence
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liser_ray.student.front_end import MIN_BAND_STD
from liser_ray.student.network import StudentLogits, StudentNetwork, single_precision

_MAPS_AT_ONCE = {"cpu": 64, "cuda": 2048}
"""Windows times students that are evaluated together: 1.5 MB for a map of the first block, half of it in bfloat16.
Batch norm and pooling hold two or three such at once: 6 to 10 GB."""


class StackedStudents:
    """The weights of P students of the same configuration, as tensors [P, ...].

    Args:
        students: at least one, on one device; they are copied.

    Attributes:
        parameters: by the names of a `StudentNetwork`'s own, leaves that take gradients.
        buffers: batch norm's running statistics and those of the corpus.
    """

    def __init__(self, students: Sequence[StudentNetwork]):
        self._student = students[0]
        self.n_students = len(students)
        named = [dict(student.named_parameters()) for student in students]
        self.parameters = {
            name: torch.stack([one[name].detach() for one in named]).contiguous().requires_grad_() for name in named[0]
        }
        kept = [{k: v for k, v in student.named_buffers() if v.is_floating_point()} for student in students]
        self.buffers = {name: torch.stack([one[name] for one in kept]) for name in kept[0]}

    def copy(self) -> Self:
        """The same weights, that change no more."""
        other = object.__new__(type(self))
        other._student, other.n_students = self._student, self.n_students
        other.parameters = {name: value.detach().clone() for name, value in self.parameters.items()}
        other.buffers = {name: value.clone() for name, value in self.buffers.items()}
        return other

    def weights_of(self, number: int) -> dict[str, Tensor]:
        """The parameters and statistics of one student, to load into a `StudentNetwork` with ``strict=False``."""
        return {name: value[number].detach().clone() for name, value in (self.parameters | self.buffers).items()}

    def state_dict(self) -> dict[str, Tensor]:
        """All weights, by name."""
        return {name: value.detach() for name, value in (self.parameters | self.buffers).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take weights of `state_dict`."""
        with torch.no_grad():
            for name, value in (self.parameters | self.buffers).items():
                value.copy_(state[name])

    def __call__(self, inputs: Tensor, masks: Tensor | None) -> StudentLogits:
        """Logits of all heads in training.

        Args:
            inputs: float32 [P, B, 64, frames].
            masks: of dropout, float32 [P, B, D]: 0, or the inverse of the share that is kept; None without dropout.

        Returns:
            Float [P, B, K] each.
        """
        encoded = self._encode(inputs, training=True)
        if masks is not None:
            encoded = encoded * masks
        return StudentLogits(
            self._linear("classifier.head", encoded),
            self._hidden("speech_head", encoded),
            self._hidden("video_head", encoded),
        )

    @torch.no_grad()
    def classify(self, windows: Tensor) -> Tensor:
        """Logits of the supervised heads in evaluation, float [n, P, K], for windows float32 [n, 64, frames]."""
        at_once = max(1, _MAPS_AT_ONCE.get(windows.device.type, 64) // self.n_students)
        found = [
            self._linear("classifier.head", self._encode(part.expand(self.n_students, *part.shape), training=False))
            for part in windows.split(at_once)
        ]
        return torch.cat(found, dim=1).transpose(0, 1)

    def _encode(self, inputs: Tensor, training: bool) -> Tensor:
        """The vectors that all heads read, float [P, B, D], before dropout."""
        n, n_items = self.n_students, inputs.shape[1]
        if "classifier.normalisation.mean" in self.buffers:
            mean, std = (self.buffers[f"classifier.normalisation.{name}"][:, None] for name in ("mean", "std"))
            inputs = (inputs - mean) / std.clamp(min=MIN_BAND_STD)
        maps = inputs.transpose(0, 1).contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(self._student.classifier.convolutions):
            maps = self._block(f"classifier.convolutions.{number}", block, maps, training)
        n_steps = maps.shape[-1]
        # An input of the LSTM: filters × 2 bands.
        features = maps.reshape(n_items, n, -1, n_steps).permute(1, 3, 0, 2)
        steps = self._lstm(features, "l0")
        if self._student.classifier.lstm.bidirectional:
            backwards = self._lstm(features.flip(1), "l0_reverse").flip(1)
            steps = torch.cat([steps, backwards], dim=-1)
        return self._pool(steps)

    def _block(self, name: str, block: nn.Module, maps: Tensor, training: bool) -> Tensor:
        """A `ConvBlock` of each student: [B, P · channels, bands, frames], smaller afterwards."""
        convolution, norm, pool, _ = cast("tuple[nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]", block.children())
        weight = self.parameters[f"{name}.0.weight"].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        bias = self.parameters[f"{name}.0.bias"].flatten()
        maps = F.conv2d(maps, weight, bias, padding=convolution.padding, groups=self.n_students)
        maps = F.batch_norm(
            maps,
            self.buffers[f"{name}.1.running_mean"].view(-1),
            self.buffers[f"{name}.1.running_var"].view(-1),
            self.parameters[f"{name}.1.weight"].flatten(),
            self.parameters[f"{name}.1.bias"].flatten(),
            training,
            cast("float", norm.momentum),
            norm.eps,
        )
        return F.max_pool2d(maps, pool.kernel_size).relu()

    def _lstm(self, features: Tensor, layer: str) -> Tensor:
        """All steps' outputs of one direction, float [P, steps, B, hidden], of inputs [P, steps, B, 2 · filters]."""
        with single_precision(features.device):
            return self._steps(features.float() if features.is_cuda else features, layer)

    def _steps(self, features: Tensor, layer: str) -> Tensor:
        n, n_steps, n_items, _ = features.shape
        w_in, w_hidden, b_in, b_hidden = (
            self.parameters[f"classifier.lstm.{name}_{layer}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        bias = (b_in + b_hidden)[:, None]
        from_inputs = torch.baddbmm(bias, features.flatten(1, 2), w_in.transpose(1, 2)).view(n, n_steps, n_items, -1)
        # Sums over time keep the weights' precision.
        hidden = cell = w_hidden.new_zeros(n, n_items, w_hidden.shape[-1])
        steps = []
        for step in from_inputs.unbind(dim=1):
            gates = torch.baddbmm(step, hidden, w_hidden.transpose(1, 2)).to(cell.dtype)
            take, forget, new, give = gates.chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = give.sigmoid() * cell.tanh()
            steps.append(hidden)
        return torch.stack(steps, dim=1)

    def _pool(self, steps: Tensor) -> Tensor:
        """`liser_ray.student.network.TimePooling` for each student, float [P, B, D]."""
        kind = self._student.classifier.pooling.kind
        if kind == "attention":
            score = self.parameters["classifier.pooling.score.weight"][:, None].transpose(2, 3)  # [P, 1, D, 1]
            return (torch.matmul(steps, score).softmax(dim=1) * steps).sum(dim=1)
        return steps.mean(dim=1) if kind == "mean" else steps[:, -1]

    def _linear(self, name: str, inputs: Tensor) -> Tensor:
        """A linear layer of each student: [P, B, in] to [P, B, out]."""
        return torch.baddbmm(
            self.parameters[f"{name}.bias"][:, None], inputs, self.parameters[f"{name}.weight"].transpose(1, 2)
        )

    def _hidden(self, name: str, inputs: Tensor) -> Tensor:
        return self._linear(f"{name}.2", self._linear(f"{name}.0", inputs).relu())
