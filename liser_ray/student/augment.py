"""What is done to segments in training, on log-Mel spectrograms: whole batches, a few milliseconds each.

Sounds that have nothing to do with one another add up in power, and whatever filters a sound multiplies the power of
each band: noise, babble and narrow bands need no waveform. What does (reverberation, codecs, clipping) comes as further
copies of the recordings, made once (`liser_ray.media.conditions`).
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from liser_ray.student.features import LogMel
from liser_ray.student.front_end import (
    SAMPLE_RATE_HZ,
    SEGMENT_FRAMES,
    TINY_POWER,
    mel_corners_hz,
    mirrored,
)

SILENCE = -1
"""A place of `pieces` at which there is nothing."""

_LOUD = 10**-3.5
"""Frames within 35 dB of a recording's loudest one are its speech."""

_MARGIN = 10  # frames: up to 0.3 s of what is around the speech may stay
_SHORTEST = 16  # frames, half a second
_NOISE_S = 60
_TALKERS = 4


def spec_augment(
    log_mel: Tensor, rng: np.random.Generator, n_band_masks: int, max_bands: int, n_frame_masks: int, max_frames: int
) -> Tensor:
    """Hide random stripes of each spectrogram (Park et al. 2019), without its time warping.

    Each mask covers 0 to its maximum of neighbouring bands (0..64) or frames, all widths and places equally likely.
    What is hidden in [B, 64, frames] gets the mean of its spectrogram, so that it works without normalisation as well.
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
    inputs: Tensor, truth: Tensor, n_labels: int, alpha: float, rng: np.random.Generator, sizes: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Mix each input with another of the batch, and their labels likewise (Zhang et al. 2018).

    x = m · x_i + (1 - m) · x_j and y = m · y_i + (1 - m) · y_j, with its own m ~ Beta(alpha, alpha) for each pair. Of
    inputs [N, ...] and truth, int64 [N] or float32 [N, n_labels], it makes inputs and soft targets, float32
    [N, n_labels], whose rows sum to 1. Where ``sizes`` say how many of the inputs, one after the other, are of each
    labeled set, pairs are of one set.
    """
    sizes = sizes or (len(inputs),)
    partners = [end - size + rng.permutation(size) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
    partner = torch.from_numpy(np.concatenate(partners)).to(inputs.device)
    share = torch.from_numpy(rng.beta(alpha, alpha, len(inputs)).astype(np.float32)).to(inputs.device)
    targets = truth if truth.is_floating_point() else nn.functional.one_hot(truth, n_labels).float()
    of_inputs = share.view(-1, *[1] * (inputs.ndim - 1))
    return inputs[partner].lerp(inputs, of_inputs), targets[partner].lerp(targets, share[:, None])


def speech_bounds(frames: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """First frame of each recording's speech and the one after its last, int64 [N, 2], counted from its first frame.

    Of log-Mel float32 [F, 64], recordings one after the other up to their ``ends``, int64 [N].
    """
    bounds = np.empty((len(ends), 2), np.int64)
    for row, (start, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
        power = np.exp(frames[start:end]).sum(axis=1)
        loud = np.flatnonzero(power >= power.max() * _LOUD)
        bounds[row] = loud[0], loud[-1] + 1
    return bounds


def pieces(
    n_frames: np.ndarray, bounds: np.ndarray, share: float, places: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Random pieces of recordings, cut as other people's are, int64 [n, 94]: places in each recording.

    Of half of a ``share`` of them 0.5 to 3 s of the speech are left; of the other half the silence around the speech
    goes. What is then too short for a segment is repeated forth and back, or has nothing (`SILENCE`) around it.

    Args:
        n_frames: of the recordings, int64 [n], 94 or more.
        bounds: of their speech, int64 [n, 2], see `speech_bounds`.
        share: 0..1.
        places: of each piece in what it may be of, float [n], 0..1.
        rng: of all else that is random.
    """
    found = np.empty((len(n_frames), SEGMENT_FRAMES), np.int64)
    for row, (n_here, place) in enumerate(zip(n_frames.tolist(), places.tolist(), strict=True)):
        how, length, before, after, around, offset = rng.random(6)
        start, end, wanted = 0, n_here, SEGMENT_FRAMES
        if how < share:
            first, last = bounds[row].tolist()
            start, end = max(0, first - int(before * _MARGIN)), min(n_here, last + int(after * _MARGIN))
        if how < share / 2:
            wanted = _SHORTEST + int(length * (SEGMENT_FRAMES - _SHORTEST + 1))
        n_left = min(wanted, end - start)
        start += int(place * (end - start - n_left + 1))
        if around < 0.5:
            found[row] = start + mirrored(n_left, SEGMENT_FRAMES)
        else:
            at = int(offset * (SEGMENT_FRAMES - n_left + 1))
            found[row] = SILENCE
            found[row, at : at + n_left] = np.arange(start, start + n_left)
    return found


def add_noise(log_mel: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Add noise to a share of spectrograms [B, 64, frames], 0 to 45 dB below them, brown over white to blue."""
    n = len(log_mel)
    chosen, snr_db, colour = rng.random((3, n))
    bank = _white_noise()
    first = rng.integers(max(1, len(bank) - log_mel.shape[2]), size=n)
    at = (first[:, None] + np.arange(log_mel.shape[2])) % len(bank)
    centres_hz = mel_corners_hz()[1:-1]
    tilt = (centres_hz / 1000.0) ** (3 * colour[:, None] - 2)
    noise = bank[torch.from_numpy(at)].mT * torch.from_numpy(tilt.astype(np.float32))[:, :, None]
    return _add(log_mel, noise.to(log_mel.device), 45 * snr_db, chosen < share)


def add_babble(
    log_mel: Tensor, share: float, rng: np.random.Generator, talkers: Callable[[int, np.random.Generator], Tensor]
) -> Tensor:
    """Add other people who talk, 0 to 30 dB below, to a share of spectrograms [B, 64, frames].

    ``talkers`` gives so many random segments of the training recordings, float32 [n, 64, frames].
    """
    chosen, snr_db = rng.random((2, len(log_mel)))
    wanted = np.flatnonzero(chosen < share)
    if not len(wanted):
        return log_mel
    others = talkers(_TALKERS * len(wanted), rng).exp()
    others = others / _power(others)[:, None, None]
    babble = others.view(len(wanted), _TALKERS, *log_mel.shape[1:]).sum(dim=1)
    found = log_mel.clone()
    at = torch.from_numpy(wanted).to(log_mel.device)
    found[at] = _add(log_mel[at], babble, 30 * snr_db[wanted], np.ones(len(wanted), bool))
    return found


def narrow(log_mel: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Take what lies below 50 to 500 Hz and above 3 to 8 kHz from a share of spectrograms [B, 64, frames]."""
    n = len(log_mel)
    chosen, low, high, slope_db = rng.random((4, n, 1))
    low_hz, high_hz = 50 * 10**low, 3000 * (8 / 3) ** high
    centres_hz = mel_corners_hz()[1:-1]
    octaves = np.maximum(np.log2(low_hz / centres_hz), np.log2(centres_hz / high_hz)).clip(min=0)
    lost_db = np.minimum(octaves * (24 + 176 * slope_db), 80) * (chosen < share)
    curve = torch.from_numpy((-lost_db * math.log(10) / 10).astype(np.float32)).to(log_mel.device)
    return (log_mel + curve[:, :, None]).clamp(min=math.log(TINY_POWER))


def _add(log_mel: Tensor, other: Tensor, snr_db: np.ndarray, chosen: np.ndarray) -> Tensor:
    """The sum of two sounds, the other (power, [B, 64, frames]) so many dB below; as it was where not chosen."""
    power = log_mel.exp()
    level = torch.from_numpy((10 ** (-snr_db / 10) * chosen).astype(np.float32)).to(log_mel.device)
    scale = level * _power(power) / _power(other)
    return (power + other * scale[:, None, None]).clamp(min=TINY_POWER).log()


def _power(power: Tensor) -> Tensor:
    """Mean power of sounds [B, 64, frames] over time, [B], above 0."""
    return power.sum(dim=1).mean(dim=1).clamp(min=TINY_POWER)


@cache
def _white_noise() -> Tensor:
    """Band powers of a minute of white noise, float32 [frames, 64]."""
    waveform = np.random.default_rng(0).standard_normal((1, _NOISE_S * SAMPLE_RATE_HZ)).astype(np.float32)
    return LogMel("speech")(torch.from_numpy(waveform))[0].exp().T.contiguous()
