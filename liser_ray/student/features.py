"""What the student hears: 3-s segments as log-Mel spectrograms, normalised and augmented where settings say so."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.student.config import Normalisation
from liser_ray.student.front_end import (
    EDGE_SAMPLES,
    EVALUATION_STRIDE_SAMPLES,
    FRAME_SAMPLES,
    MIN_BAND_STD,
    N_BANDS,
    POWER_FLOOR,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    STRIDE_SAMPLES,
)


class LogMel(nn.Module):
    """Waveforms at 16 kHz to log-Mel spectrograms; nothing in it is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = torchaudio.transforms.Spectrogram(FRAME_SAMPLES, hop_length=STRIDE_SAMPLES, center=False)
        self.bands = torchaudio.transforms.MelScale(N_BANDS, SAMPLE_RATE_HZ, n_stft=FRAME_SAMPLES // 2 + 1)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Natural logarithms of the Mel bands' powers, float32 [B, 64, 1 + n // 512]; 94 frames for 3 s.

        Args:
            waveforms: float32 [B, n], mono, 16 kHz, -1..1, n at least 1,025. Always computed in float32, also where
                autocast would do less: the powers span ten decades.
        """
        return self.of_padded(pad_edges(waveforms))

    def of_padded(self, waveforms: Tensor) -> Tensor:
        """The same without mirroring: one frame for each whole window, float32 [B, 64, 1 + (n - 2048) // 512].

        Args:
            waveforms: float32 [B, n], of `pad_edges` or stretches of it.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            return self.bands(self.spectrogram(waveforms.float())).clamp(min=POWER_FLOOR).log()


def pad_edges(waveforms: Tensor) -> Tensor:
    """Mirror half a window at both ends of [B, n], so that a frame is centred on every multiple of the stride."""
    return nn.functional.pad(waveforms, (EDGE_SAMPLES, EDGE_SAMPLES), mode="reflect")


def segment_samples(padded: Tensor, first_frame: int) -> Tensor:
    """The samples under the 94 frames from ``first_frame`` on, [..., 49664] of [..., n] from `pad_edges`."""
    start = first_frame * STRIDE_SAMPLES
    return padded[..., start : start + (SEGMENT_FRAMES - 1) * STRIDE_SAMPLES + FRAME_SAMPLES]


def fit_length(waveform: Tensor) -> Tensor:
    """Pad [..., n] at 16 kHz with zeros at the end to 3 s; what is longer comes as it is."""
    missing = SEGMENT_SAMPLES - waveform.shape[-1]
    return nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform


def evaluation_windows(waveform: Tensor) -> Tensor:
    """Every 3-s window of a recording, one each 0.1 s.

    Window k starts at 0.1 · k s and all are full, so that less than 0.1 s at the end may go unheard. A recording of
    less than 3 s gives one zero-padded window.

    Args:
        waveform: [n], 16 kHz.

    Returns:
        [W, 48000], a view without copies, where W = 1 + (n - 48000) // 1600, at least 1.
    """
    return fit_length(waveform).unfold(-1, SEGMENT_SAMPLES, EVALUATION_STRIDE_SAMPLES)


class BandStatistics(NamedTuple):
    """Mean and standard deviation of each Mel band over time, float32 [64, 1] or [B, 64, 1]."""

    mean: Tensor
    std: Tensor


def recording_statistics(log_mel: Tensor, n_frames: Tensor) -> BandStatistics:
    """Statistics of each recording by itself, without its padding.

    Args:
        log_mel: float32 [B, 64, frames].
        n_frames: int64 [B], how many of the frames are sound, 1 or more (`frame_count`).

    Returns:
        Statistics [B, 64, 1].
    """
    heard = torch.arange(log_mel.shape[-1], device=log_mel.device) < n_frames[:, None, None]
    count = heard.sum(dim=-1, keepdim=True)
    mean = (log_mel * heard).sum(dim=-1, keepdim=True) / count
    variance = ((log_mel - mean).square() * heard).sum(dim=-1, keepdim=True) / count
    return BandStatistics(mean, variance.sqrt())


def corpus_statistics(log_mels: Iterable[Tensor]) -> BandStatistics:
    """Statistics of all frames of the training recordings together, in one pass.

    Args:
        log_mels: float32 [64, frames] each, without padding.

    Returns:
        Statistics [64, 1].

    Raises:
        ValueError: if there are no frames.
    """
    count, total, squares = 0, torch.zeros(N_BANDS, dtype=torch.float64), torch.zeros(N_BANDS, dtype=torch.float64)
    for log_mel in log_mels:
        exact = log_mel.double().cpu()
        count += exact.shape[1]
        total += exact.sum(dim=1)
        squares += exact.square().sum(dim=1)
    if not count:
        raise ValueError("No frames to fit the normalisation to.")
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    return BandStatistics(mean.float()[:, None], variance.sqrt().float()[:, None])


class BandNormalisation(nn.Module):
    """Zero mean and unit variance for each Mel band.

    "none" changes nothing. "utterance" takes the statistics of the whole recording that a segment is from;
    "utterance-mean" its means alone, so that what a voice and a microphone add to all frames goes, while loud and soft
    stay. "corpus" takes those of the training data, which are saved with the weights; until they are set or loaded they
    are NaN, so that nobody trains without them unnoticed. Padding is normalised like sound.

    Args:
        kind: which of them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: Normalisation):
        super().__init__()
        self.kind = kind
        if kind == "corpus":
            self.register_buffer("mean", torch.full((N_BANDS, 1), torch.nan))
            self.register_buffer("std", torch.full((N_BANDS, 1), torch.nan))

    def set_corpus(self, corpus: BandStatistics) -> None:
        """Take the statistics of the training data."""
        self.mean.copy_(corpus.mean)
        self.std.copy_(corpus.std)

    def forward(self, log_mel: Tensor, recording: BandStatistics | None = None) -> Tensor:
        """Normalised spectrograms, as many.

        Args:
            log_mel: float32 [B, 64, frames].
            recording: statistics [B, 64, 1] of the recording that each row is from, or [64, 1] if all are from one; of
                `recording_statistics`, for those of the recording.

        Raises:
            ValueError: they are missing.
        """
        if self.kind == "none":
            return log_mel
        if self.kind == "corpus":
            recording = BandStatistics(self.mean, self.std)
        if recording is None:
            raise ValueError("Normalisation by utterance needs the statistics of each recording.")
        centred = log_mel - recording.mean
        return centred if self.kind == "utterance-mean" else centred / recording.std.clamp(min=MIN_BAND_STD)


def spec_augment(
    log_mel: Tensor, rng: np.random.Generator, n_band_masks: int, max_bands: int, n_frame_masks: int, max_frames: int
) -> Tensor:
    """Hide random stripes of each spectrogram (Park et al. 2019), without its time warping.

    Each mask covers 0 to its maximum of neighbouring bands or frames, all widths and places equally likely. What is
    hidden gets the mean of its spectrogram, so that it works without normalisation as well.

    Args:
        log_mel: float [B, 64, frames].
        rng: of the masks; the same on every device.
        n_band_masks, max_bands: masks along frequency and their greatest width, 0..64.
        n_frame_masks, max_frames: masks along time and their greatest width, 0..frames.

    Returns:
        Float [B, 64, frames], a copy.
    """
    n_rows, n_bands, n_frames = log_mel.shape
    bands = _random_stripes(n_rows, n_bands, n_band_masks, max_bands, rng)
    frames = _random_stripes(n_rows, n_frames, n_frame_masks, max_frames, rng)
    hidden = torch.from_numpy(bands[:, :, None] | frames[:, None, :]).to(log_mel.device)
    return torch.where(hidden, log_mel.mean(dim=(1, 2), keepdim=True), log_mel)


def _random_stripes(n_rows: int, size: int, n_masks: int, max_width: int, rng: np.random.Generator) -> np.ndarray:
    """Where masks along one axis lie, bool [n_rows, size]."""
    width = rng.integers(0, max_width + 1, (n_rows, n_masks, 1))
    start = rng.integers(0, size - width + 1)
    place = np.arange(size)
    return np.any((place >= start) & (place < start + width), axis=1)


def mixup(
    inputs: Tensor, truth: Tensor, n_labels: int, alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each input with another of the batch, and their labels likewise (Zhang et al. 2018).

    x = m · x_i + (1 - m) · x_j and y = m · y_i + (1 - m) · y_j, with its own m ~ Beta(alpha, alpha) for each pair.

    Args:
        inputs: float32 [N, ...].
        truth: int64 [N], 0..K-1.
        n_labels: K.
        alpha: above 0; small ones mix little, 1 makes all m equally likely.
        rng: of pairs and shares; the same on every device.

    Returns:
        Mixed inputs, float32 [N, ...], and soft targets, float32 [N, K], whose rows sum to 1.
    """
    partner = torch.from_numpy(rng.permutation(len(inputs))).to(inputs.device)
    share = torch.from_numpy(rng.beta(alpha, alpha, len(inputs)).astype(np.float32)).to(inputs.device)
    targets = nn.functional.one_hot(truth, n_labels).float()
    of_inputs = share.view(-1, *[1] * (inputs.ndim - 1))
    return inputs[partner].lerp(inputs, of_inputs), targets[partner].lerp(targets, share[:, None])
