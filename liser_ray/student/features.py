"""What the student hears: 3-s segments as log-Mel spectrograms, normalised and augmented where settings say so."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.student.chunks import chunk_frames
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
    SPEECH_RANGE,
    STRIDE_SAMPLES,
    TINY_POWER,
    mirrored,
)

_FRAMES_AT_ONCE = {"cpu": 128, "cuda": 1 << 17}
"""Few on a CPU, so that their spectra stay in its caches: that takes two fifths of the time."""

_N_INNER = SEGMENT_FRAMES - 4
"""Frames of a window that see none of the mirrored sound: all but two at each end."""

_EDGE_SPAN = FRAME_SAMPLES + STRIDE_SAMPLES
"""Samples under two frames."""


class LogMel(nn.Module):
    """Waveforms at 16 kHz to log-Mel spectrograms; nothing in it is learned.

    Always in float32, also where autocast would do less: the powers span ten decades.

    Args:
        normalisation: what comes after it, which decides on the smallest power and on the padding.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, normalisation: Normalisation = "none"):
        super().__init__()
        self._of_speech = normalisation == "speech"
        self._floor = TINY_POWER if self._of_speech else POWER_FLOOR
        filters = torchaudio.functional.melscale_fbanks(
            FRAME_SAMPLES // 2 + 1, 0.0, SAMPLE_RATE_HZ / 2, N_BANDS, SAMPLE_RATE_HZ
        )
        self.register_buffer("window", torch.hann_window(FRAME_SAMPLES))
        self.register_buffer("filters", filters)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logarithms of the bands' powers, float32 [B, 64, 1 + n // 512], of float32 [B, n], 16 kHz, n > 1,024."""
        return self.of_padded(pad_edges(waveforms))

    def fit_length(self, waveform: Tensor) -> Tensor:
        """Pad [..., n] at 16 kHz to 3 s; what is longer comes as it is.

        By zeros at the end, as the paper does; before "speech" with what is there, forth and back, which unlike silence
        sounds like speech.
        """
        n_samples = waveform.shape[-1]
        if n_samples >= SEGMENT_SAMPLES:
            return waveform
        if self._of_speech:
            return waveform[..., torch.from_numpy(mirrored(n_samples, SEGMENT_SAMPLES)).to(waveform.device)]
        return nn.functional.pad(waveform, (0, SEGMENT_SAMPLES - n_samples))

    def of_padded(self, waveforms: Tensor) -> Tensor:
        """The same of stretches of what `pad_edges` gives, [B, n]: float32 [B, 64, 1 + (n - 2048) // 512]."""
        return self._of_frames(waveforms.float().unfold(1, FRAME_SAMPLES, STRIDE_SAMPLES)).mT

    def of_windows(self, waveform: Tensor, step_samples: int) -> Tensor:
        """Spectrograms of the 3-s windows of a recording [n], n >= 48,000: float32 [W, 64, 94], each as of it alone.

        Neighbours 0.1 s apart share no frame, since the stride is 32 ms. But all frames lie on a grid of 4 ms, so that
        those of all windows are a quarter as many as those of each window. The two at each end of a window see the
        mirrored sound there, and are its own.
        """
        windows = waveform.float().unfold(0, SEGMENT_SAMPLES, step_samples)
        n_windows = len(windows)
        grid = math.gcd(step_samples, STRIDE_SAMPLES)
        n_grid = 1 + ((n_windows - 1) * step_samples + (_N_INNER - 1) * STRIDE_SAMPLES) // grid
        if n_grid > n_windows * SEGMENT_FRAMES / 2:
            return self(windows)
        on_grid = self._of_frames(waveform[None, : (n_grid - 1) * grid + FRAME_SAMPLES].unfold(1, FRAME_SAMPLES, grid))
        first = torch.arange(n_windows, device=waveform.device)[:, None] * (step_samples // grid)
        inner = on_grid[0, first + torch.arange(_N_INNER, device=waveform.device) * (STRIDE_SAMPLES // grid)]
        # The samples under the first two frames, and those under the last two, mirrored as by `pad_edges`.
        start = torch.cat([windows[:, 1 : EDGE_SAMPLES + 1].flip(1), windows[:, : _EDGE_SPAN - EDGE_SAMPLES]], dim=1)
        end = windows[:, (SEGMENT_FRAMES - 2) * STRIDE_SAMPLES - EDGE_SAMPLES :]
        end = torch.cat([end, end[:, -1 - (_EDGE_SPAN - end.shape[1]) : -1].flip(1)], dim=1)
        edges = self._of_frames(torch.cat([start, end]).unfold(1, FRAME_SAMPLES, STRIDE_SAMPLES))
        return torch.cat([edges[:n_windows], inner, edges[n_windows:]], dim=1).mT

    def _of_frames(self, frames: Tensor) -> Tensor:
        """Log-Mel of frames float32 [B, F, 2048], as float32 [B, F, 64]."""
        found = frames.new_empty(*frames.shape[:2], N_BANDS)
        n_frames = _FRAMES_AT_ONCE.get(frames.device.type, 128)
        n_rows = max(1, n_frames // max(1, frames.shape[1]))
        with torch.autocast(frames.device.type, enabled=False):
            for rows, into in zip(frames.split(n_rows), found.split(n_rows), strict=True):
                for few, out in zip(rows.split(n_frames, dim=1), into.split(n_frames, dim=1), strict=True):
                    squares = torch.view_as_real(torch.fft.rfft(few * self.window)).square_()
                    # Not .sum(dim=-1): of two neighbours each it takes longer than the transform.
                    out.copy_((squares[..., 0] + squares[..., 1]) @ self.filters)
        return found.clamp_(min=self._floor).log_()


def pad_edges(waveforms: Tensor) -> Tensor:
    """Mirror half a window at both ends of [B, n], so that a frame is centred on every multiple of the stride."""
    return nn.functional.pad(waveforms, (EDGE_SAMPLES, EDGE_SAMPLES), mode="reflect")


def segment_samples(padded: Tensor, first_frame: int) -> Tensor:
    """The samples under the 94 frames from ``first_frame`` on, [..., 49664] of [..., n] from `pad_edges`."""
    start = first_frame * STRIDE_SAMPLES
    return padded[..., start : start + (SEGMENT_FRAMES - 1) * STRIDE_SAMPLES + FRAME_SAMPLES]


def evaluation_windows(waveform: Tensor) -> Tensor:
    """Every 3-s window of a recording [n] at 16 kHz, one each 0.1 s: a view [W, 48000], W = 1 + (n - 48000) // 1600.

    All are full, so that less than 0.1 s at the end may go unheard. The recording has 3 s or more (`fit_length`).
    """
    return waveform.unfold(-1, SEGMENT_SAMPLES, EVALUATION_STRIDE_SAMPLES)


def in_chunks(log_mel: Tensor, n_chunks: int) -> Tensor:
    """The frames of N chunks that are laid over each spectrogram [B, 64, frames], one after the other: [B, 64, N · 32].

    What has N · 32 frames is its own chunks already.
    """
    frames = torch.from_numpy(chunk_frames(np.array([log_mel.shape[2]]), n_chunks)[0])
    return log_mel.index_select(2, frames.to(log_mel.device))


class BandStatistics(NamedTuple):
    """Mean and standard deviation of each Mel band over time, float32 [64, 1] or [B, 64, 1], and their weight.

    The weight, [1, 1] or [B, 1, 1], of all frames together is of those statistics alone that go on with what follows.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor | None = None


def recording_statistics(
    log_mel: Tensor, n_frames: Tensor, normalisation: Normalisation, before: BandStatistics | None = None
) -> BandStatistics:
    """Statistics [B, 64, 1] of each recording by itself, without its padding; the ONNX file has its own.

    Every frame has the weight 1; for "speech" a frame weighs as much as it is loud (the root of its power, an
    amplitude), so that what is 40 dB below the voice counts a hundredth. Sums with weights can go on, where a threshold
    below the loudest frame could not.

    Args:
        log_mel: float32 [B, 64, frames].
        n_frames: int64 [B], how many of the frames are sound (`frame_count`); 1 or more if nothing was before.
        normalisation: that they are for.
        before: statistics of the recording's frames before these, for one that comes in pieces; they count too.
    """
    weights = (torch.arange(log_mel.shape[-1], device=log_mel.device) < n_frames[:, None, None]).to(log_mel.dtype)
    if normalisation == "speech":
        weights = weights * log_mel.exp().sum(dim=1, keepdim=True).sqrt()
    weight = weights.sum(dim=-1, keepdim=True)
    divisor = weight.clamp(min=torch.finfo(weight.dtype).tiny)
    mean = (log_mel * weights).sum(dim=-1, keepdim=True) / divisor
    variance = ((log_mel - mean).square() * weights).sum(dim=-1, keepdim=True) / divisor
    if before is not None:
        assert before.weight is not None
        here, weight = weight, before.weight + weight
        share, step = here / weight, mean - before.mean
        mean = before.mean + share * step
        variance = (1 - share) * before.std.square() + share * variance + share * (1 - share) * step.square()
    return BandStatistics(mean, variance.sqrt(), weight)


def corpus_statistics(log_mels: Iterable[Tensor]) -> BandStatistics:
    """Statistics [64, 1] of all frames of the training recordings together, float32 [64, frames] each, in one pass.

    Raises:
        ValueError: if there are no frames.
    """
    found = None
    for log_mel in log_mels:
        if log_mel.shape[1]:
            exact = log_mel.double().cpu()[None]
            found = recording_statistics(exact, torch.tensor([log_mel.shape[1]]), "corpus", found)
    if found is None:
        raise ValueError("No frames to fit the normalisation to.")
    return BandStatistics(found.mean[0].float(), found.std[0].float())


class BandNormalisation(nn.Module):
    """Zero mean and unit variance for each Mel band.

    "none" changes nothing. "utterance" takes the statistics of the whole recording that a segment is from;
    "utterance-mean" its means alone, so that what a voice and a microphone add to all frames goes, while loud and soft
    stay. "corpus" takes those of the training data, which are saved with the weights; until they are set or loaded they
    are NaN, so that nobody trains without them unnoticed. Padding is normalised like sound.

    "speech" takes the mean over the loud frames (`recording_statistics`), of which silence is no part, and what is
    60 dB below the loudest band counts as that: louder or softer, or with more silence around, it looks the same.
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
        """Normalised spectrograms, float32 [B, 64, frames]; by utterance, of `recording_statistics` of each or of all.

        Raises:
            ValueError: those are missing.
        """
        if self.kind == "none":
            return log_mel
        if self.kind == "corpus":
            recording = BandStatistics(self.mean, self.std)
        if recording is None:
            raise ValueError("Normalisation by utterance needs the statistics of each recording.")
        if self.kind == "speech":
            floor = recording.mean.amax(dim=-2, keepdim=True) - SPEECH_RANGE
            return log_mel.maximum(floor) - recording.mean.maximum(floor)
        centred = log_mel - recording.mean
        return centred if self.kind == "utterance-mean" else centred / recording.std.clamp(min=MIN_BAND_STD)
