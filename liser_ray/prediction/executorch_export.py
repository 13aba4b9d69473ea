"""A student as an ExecuTorch program, for phones and boards: 3 s of waveform in, logits out."""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn

from liser_ray.prediction.matrices import N_KEPT, N_LONG, N_SHORT, front_end_numbers
from liser_ray.prediction.torch_classifier import load_classifier
from liser_ray.student.card import StudentCard
from liser_ray.student.config import Normalisation
from liser_ray.student.features import BandNormalisation, BandStatistics, pad_edges
from liser_ray.student.front_end import N_BANDS, POWER_FLOOR, SEGMENT_FRAMES, SEGMENT_SAMPLES, STRIDE_SAMPLES
from liser_ray.student.network import EmotionClassifier


def export_executorch(weights: bytes, card: StudentCard) -> bytes:
    """A student as a ``.pte`` file for ExecuTorch's runtime with XNNPACK, float32; of 8 labels about 0.9 MB.

    Inputs: a window, float32 [1, 48000], 16 kHz, mono, -1..1; with normalisation by utterance also mean and deviation
    of the bands over the recording, float32 [2, 64]. Output: logits, float32 [1, K]; a recording's probabilities are
    the softmax of the mean over its windows, one every 0.1 s.

    Args:
        weights: the bytes of its ``student.safetensors``.
        card: its card.

    Raises:
        UserError: the weights are not those of the card's network.
    """
    classifier = load_classifier(weights, card)
    classifier.convolutions.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    window = (torch.zeros(1, SEGMENT_SAMPLES),)
    statistics = (torch.ones(2, N_BANDS),) if card.of_recording else ()
    program = torch.export.export(_OfWaveform(classifier, card.network.normalisation).eval(), (*window, *statistics))
    return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer


class _OfWaveform(nn.Module):
    """The network behind its front end, with operators that small runtimes have."""

    filters: Tensor
    hann: Tensor
    short_transform: Tensor
    turn_re: Tensor
    turn_im: Tensor
    long_transform: Tensor

    def __init__(self, classifier: EmotionClassifier, normalisation: Normalisation):
        super().__init__()
        self.classifier = classifier
        self.of_recording = BandNormalisation(normalisation)
        numbers = {name: torch.from_numpy(value) for name, value in front_end_numbers().items()}
        corners_hz, frequencies_hz = numbers["corners_hz"], numbers["frequencies_hz"]
        rising = (frequencies_hz - corners_hz[:-2]) / corners_hz.diff()[:-1]
        falling = (corners_hz[2:] - frequencies_hz) / corners_hz.diff()[1:]
        self.register_buffer("filters", torch.minimum(rising, falling).relu())
        for name in ("hann", "short_transform", "turn_re", "turn_im", "long_transform"):
            self.register_buffer(name, numbers[name])

    def forward(self, waveform: Tensor, statistics: Tensor | None = None) -> Tensor:
        log_mel = self._log_mel(waveform)
        if statistics is not None:
            log_mel = self.of_recording(log_mel, BandStatistics(statistics[0][:, None], statistics[1][:, None]))
        return self.classifier(log_mel)

    def _log_mel(self, waveform: Tensor) -> Tensor:
        """As the graph of `liser_ray.prediction.onnx_graph`, float32 [1, 64, 94]."""
        n_strides = SEGMENT_FRAMES + 3
        strides = pad_edges(waveform)[:, : n_strides * STRIDE_SAMPLES].reshape(n_strides, STRIDE_SAMPLES)
        frames = torch.cat([strides[i : i + SEGMENT_FRAMES] for i in range(4)], dim=1) * self.hann
        short = torch.matmul(self.short_transform, frames.reshape(-1, N_SHORT, N_LONG))
        re, im = short[:, :N_KEPT], short[:, N_KEPT:]
        turned = [re * self.turn_re - im * self.turn_im, re * self.turn_im + im * self.turn_re]
        squares = torch.matmul(torch.cat(turned, dim=2), self.long_transform).square()
        power = (squares[..., :N_LONG] + squares[..., N_LONG:]).reshape(SEGMENT_FRAMES, -1)
        return torch.matmul(power, self.filters).clamp(min=POWER_FLOOR).log().T[None]
