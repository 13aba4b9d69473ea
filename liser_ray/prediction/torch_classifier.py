"""The network in PyTorch, over windows that share what they have in common."""

import math

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from liser_ray.runtime.errors import UserError
from liser_ray.student.card import StudentCard
from liser_ray.student.features import BandNormalisation, BandStatistics, LogMel, pad_edges
from liser_ray.student.front_end import (
    EDGE_SAMPLES,
    FRAME_SAMPLES,
    POWER_FLOOR,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    STRIDE_SAMPLES,
)
from liser_ray.student.network import EmotionClassifier

_N_INNER = SEGMENT_FRAMES - 4
"""Frames of a window that see none of the mirrored sound: all but two at each end."""

_BATCH_WINDOWS = {"cpu": 8, "cuda": 1024}
"""On a CPU as many as stay in its caches: 64 take twice as long each."""

_BATCH_FRAMES = {"cpu": 128, "cuda": 1 << 17}

_EDGE_SPAN = FRAME_SAMPLES + STRIDE_SAMPLES
"""Samples under two frames."""


class TorchClassifier:
    """A student's network on a device.

    Args:
        weights: the bytes of its ``student.safetensors``.
        card: its card.
        device: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        UserError: the weights are not those of the card's network.
    """

    def __init__(self, weights: bytes, card: StudentCard, device: str = "cpu"):
        self._device = torch.device(device)
        self._classifier = load_classifier(weights, card).to(self._device)
        self._batch = _BATCH_WINDOWS.get(self._device.type, 8)
        self._of_recording = BandNormalisation(card.network.normalisation) if card.of_recording else None
        self._log_mel = LogMel().to(self._device)

    @torch.inference_mode()
    def window_logits(self, samples: np.ndarray, step_samples: int, statistics: np.ndarray | None) -> np.ndarray:
        """See `liser_ray.prediction.classifier.WindowClassifier`."""
        log_mels = window_log_mels(torch.from_numpy(samples).to(self._device), step_samples, self._log_mel)
        if self._of_recording is not None:
            assert statistics is not None
            mean, std = torch.from_numpy(statistics).to(self._device)
            log_mels = self._of_recording(log_mels, BandStatistics(mean[:, None], std[:, None]))
        return torch.cat([self._classifier(batch) for batch in log_mels.split(self._batch)]).cpu().numpy()


def window_log_mels(samples: Tensor, step_samples: int, log_mel: LogMel) -> Tensor:
    """Spectrograms of the windows of some sound, float32 [W, 64, 94], each as `LogMel` of the window alone.

    Neighbouring windows are 0.1 s apart, which is no multiple of the stride of 32 ms: their frames coincide only with
    those of the eighth next. But all lie on a grid of 4 ms, so that the frames of all windows are a quarter of the
    frames of each window. The two frames at each end of a window see the mirrored sound there, and are its own.

    Args:
        samples: float32 [n], n from 48,000.
        step_samples: from window to window.
        log_mel: whose numbers to use, on the device of the samples.
    """
    windows = samples.unfold(0, SEGMENT_SAMPLES, step_samples)
    n_windows = len(windows)
    grid = math.gcd(step_samples, STRIDE_SAMPLES)
    n_grid = 1 + ((n_windows - 1) * step_samples + (_N_INNER - 1) * STRIDE_SAMPLES) // grid
    if n_grid > n_windows * SEGMENT_FRAMES / 2:
        return _frames(pad_edges(windows).unfold(1, FRAME_SAMPLES, STRIDE_SAMPLES), log_mel).mT
    on_grid = _frames(samples[: (n_grid - 1) * grid + FRAME_SAMPLES].unfold(0, FRAME_SAMPLES, grid), log_mel)
    first = torch.arange(n_windows, device=samples.device)[:, None] * (step_samples // grid)
    inner = on_grid[first + torch.arange(_N_INNER, device=samples.device) * (STRIDE_SAMPLES // grid)]
    # The samples under the first two frames, and those under the last two, mirrored as by `pad_edges`.
    start = torch.cat([windows[:, 1 : EDGE_SAMPLES + 1].flip(1), windows[:, : _EDGE_SPAN - EDGE_SAMPLES]], dim=1)
    end = windows[:, (SEGMENT_FRAMES - 2) * STRIDE_SAMPLES - EDGE_SAMPLES :]
    end = torch.cat([end, end[:, -1 - (_EDGE_SPAN - end.shape[1]) : -1].flip(1)], dim=1)
    edges = _frames(torch.cat([start, end]).unfold(1, FRAME_SAMPLES, STRIDE_SAMPLES), log_mel)
    return torch.cat([edges[:n_windows], inner, edges[n_windows:]], dim=1).mT


def _frames(sound: Tensor, log_mel: LogMel) -> Tensor:
    """Logarithms of the bands' powers of frames [..., 2048], float32 [..., 64].

    A few at a time, without torchaudio's detour over absolute values: the spectra stay in the caches, which takes two
    fifths of the time.
    """
    found = []
    for frames in sound.split(_BATCH_FRAMES.get(sound.device.type, 128)):
        spectrum = torch.view_as_real(torch.fft.rfft(frames * log_mel.spectrogram.window))
        found.append(spectrum.square().sum(dim=-1) @ log_mel.bands.fb)
    return torch.cat(found).clamp(min=POWER_FLOOR).log()


def load_classifier(weights: bytes, card: StudentCard) -> EmotionClassifier:
    """The network, with each batch norm folded into the convolution before it: the same function in a fifth less time.

    Args:
        weights: the bytes of its ``student.safetensors``.
        card: its card.

    Raises:
        UserError: the weights are not those of the card's network.
    """
    classifier = EmotionClassifier(len(card.labels), card.network)
    try:
        classifier.load_state_dict(safetensors.torch.load(weights))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise UserError(f"The student's weights do not fit its card: {error}") from error
    classifier.eval()
    for block in classifier.convolutions:
        assert isinstance(block, nn.Sequential)
        convolution, norm = block[0], block[1]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        block[0], block[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    classifier.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier
