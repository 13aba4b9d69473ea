"""The voice's pitch: periods, how periodic it is, and how regular one cycle follows another.

Pitch is found as Boersma has it (1993, "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound"): peaks of the autocorrelation, freed of the window's own, and the path
through them that changes least.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from liser_ray.media.audio import SAMPLE_RATE_HZ

LOWEST_HZ, HIGHEST_HZ = 55.0, 600.0
_N_CANDIDATES = 6
_VOICING = 0.6
"""Candidates that are less periodic than this are no voice."""
_SILENCE = 0.03
"""Of the recording's largest peak; frames below it are less likely to be voice."""
_OCTAVE_COST = 0.01
_OCTAVE_JUMP_COST = 0.35
_VOICING_CHANGE_COST = 0.14

_N_CYCLES = 4
_SEARCH = 0.2


class Pitch(NamedTuple):
    """Of T frames.

    Attributes:
        period: float32 [T], samples from one cycle of the voice to the next; 0 where there is no voice.
        periodicity: float32 [T], 0..1, what the autocorrelation is at that distance.
    """

    period: Tensor
    periodicity: Tensor


def find_pitch(frames: Tensor) -> Pitch:
    """Pitch of float32 [T, n], overlapping frames of one recording, n at least three of the longest periods.

    Candidates and their strengths: Boersma 1993, eq. 23 (none) and 24.
    """
    n = frames.shape[1]
    window = torch.hann_window(n, device=frames.device)
    longest, shortest = math.floor(SAMPLE_RATE_HZ / LOWEST_HZ), math.ceil(SAMPLE_RATE_HZ / HIGHEST_HZ)
    centred = frames - frames.mean(dim=1, keepdim=True)
    correlation = _autocorrelation(centred * window, longest + 2) / _autocorrelation(window[None], longest + 2)
    correlation = correlation / correlation[:, :1].clamp_min(1e-12)
    before, at, after = correlation[:, shortest - 1 : -2], correlation[:, shortest:-1], correlation[:, shortest + 1 :]
    shift, height = _top(before, at, after)
    is_peak = (at > before) & (at >= after) & (at > 0.5 * _VOICING)
    height, lag = height.clamp(max=1), torch.arange(shortest, longest + 1, device=frames.device) + shift
    strength = height - _OCTAVE_COST * torch.log2(lag * (LOWEST_HZ / SAMPLE_RATE_HZ))
    chosen, places = strength.masked_fill(~is_peak, -torch.inf).topk(_N_CANDIDATES, dim=1)
    lags, heights = lag.gather(1, places), height.gather(1, places)
    peak = centred.abs().amax(dim=1)
    level = peak / peak.max().clamp_min(1e-12)
    unvoiced = _VOICING + (2 - level * (1 + _VOICING) / _SILENCE).clamp_min(0)
    path = _best_path(chosen.double().cpu().numpy(), lags.double().cpu().numpy(), unvoiced.double().cpu().numpy())
    taken = torch.from_numpy(path).to(frames.device)[:, None]
    voiced = taken >= 0
    period = torch.where(voiced, lags.gather(1, taken.clamp_min(0)), 0.0)[:, 0]
    return Pitch(period, torch.where(voiced, heights.gather(1, taken.clamp_min(0)), 0.0)[:, 0])


def _autocorrelation(frames: Tensor, n_lags: int) -> Tensor:
    """Of float [T, n], float [T, n_lags]."""
    size = 2 ** math.ceil(math.log2(frames.shape[1] + n_lags))
    return torch.fft.irfft(power_spectrum(frames, size), size)[:, :n_lags]


def power_spectrum(frames: Tensor, size: int) -> Tensor:
    """Squared magnitudes, float32 [T, size / 2 + 1], of float32 [T, n]; by ``abs`` they would take much longer."""
    spectrum = torch.fft.rfft(frames, size)
    return spectrum.real.square() + spectrum.imag.square()


def _best_path(strength: np.ndarray, lags: np.ndarray, unvoiced: np.ndarray) -> np.ndarray:
    """Which candidate each frame takes, int64 [T], -1 for none: the sum of strengths less what changes cost is largest.

    In NumPy, since it goes step by step (Viterbi's algorithm): PyTorch would take many times as long for each.

    Args:
        strength: float64 [T, C] of candidates, -inf where there are fewer.
        lags: float64 [T, C], their periods.
        unvoiced: float64 [T], the strength of none.
    """
    states = np.concatenate([unvoiced[:, None], strength], axis=1)
    octaves = np.log2(np.maximum(lags, 1))
    change = np.full((max(0, len(lags) - 1), 1 + lags.shape[1], 1 + lags.shape[1]), _VOICING_CHANGE_COST)
    change[:, 0, 0] = 0
    change[:, 1:, 1:] = _OCTAVE_JUMP_COST * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    score, came_from = states[0], np.zeros(states.shape, np.int64)
    for t in range(1, len(states)):
        reached = score[:, None] - change[t - 1]
        came_from[t] = reached.argmax(axis=0)
        score = reached.max(axis=0) + states[t]
    path = np.empty(len(states), np.int64)
    path[-1] = score.argmax()
    for t in range(len(states) - 1, 0, -1):
        path[t - 1] = came_from[t, path[t]]
    return path - 1


class Regularity(NamedTuple):
    """How four cycles around the middle of a frame follow one another; 0 where there is no voice.

    Attributes:
        jitter: float32 [T], mean difference of successive periods, as a share of their mean.
        shimmer_db: float32 [T], mean difference of successive cycles' heights (peak to peak), in dB.
    """

    jitter: Tensor
    shimmer_db: Tensor


def find_regularity(sound: Tensor, centres: Tensor, period: Tensor) -> Regularity:
    """Of sound float32 [n], frames with these middles (int64 [T], samples) and periods (float32 [T], samples).

    A cycle is as long as it takes until the sound is most like it (normalised cross-correlation), within a fifth of the
    frame's period.
    """
    voiced = period.nonzero()[:, 0]
    jitter, shimmer = torch.zeros_like(period), torch.zeros_like(period)
    if len(voiced):
        of_voice = period[voiced][:, None]
        longest, whole = int(of_voice.max().ceil()), of_voice.round().long()
        reach = math.ceil(_SEARCH * longest)
        margin = (_N_CYCLES + 2) * longest
        padded = functional.pad(sound, (margin, margin))
        number = torch.arange(_N_CYCLES, device=sound.device) - _N_CYCLES / 2
        starts = (centres[voiced][:, None] + number * of_voice).round().long() + margin  # [V, 4], as all that follows
        cycle = padded[starts[:, :, None] + torch.arange(longest, device=sound.device)]
        cycle = cycle * (torch.arange(longest, device=sound.device) < whole)[:, None]
        around = padded[(starts + whole - reach)[:, :, None] + torch.arange(longest + 2 * reach, device=sound.device)]
        size = 2 ** math.ceil(math.log2(around.shape[2]))
        product = torch.fft.irfft(torch.fft.rfft(around, size) * torch.fft.rfft(cycle, size).conj(), size)
        energy = functional.pad(around.double().square().cumsum(2), (1, 0))
        ends = (torch.arange(2 * reach + 1, device=sound.device) + whole)[:, None].expand(-1, _N_CYCLES, -1)
        second = energy.gather(2, ends) - energy[:, :, : 2 * reach + 1]
        scale = (second * cycle.double().square().sum(2, keepdim=True)).sqrt().clamp_min(1e-9)
        likeness = product[:, :, : 2 * reach + 1] / scale
        offsets = torch.arange(-reach, reach + 1, device=sound.device)
        likeness = likeness.masked_fill((offsets.abs() > _SEARCH * of_voice)[:, None], -1.0)
        best = likeness.argmax(dim=2, keepdim=True).clamp(1, 2 * reach - 1)
        shift, _ = _top(*(likeness.gather(2, best + k)[:, :, 0] for k in (-1, 0, 1)))
        lengths = whole + offsets[best[:, :, 0]] + shift
        heights = 20 * torch.log10((cycle.amax(2) - cycle.amin(2)).clamp_min(1e-9))
        jitter[voiced] = (lengths.diff(dim=1).abs().mean(1) / lengths.mean(1)).float()
        shimmer[voiced] = heights.diff(dim=1).abs().mean(1)
    return Regularity(jitter, shimmer)


def _top(before: Tensor, at: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Where the parabola through three neighbours has its top, in steps from the middle one, -1..1, and its height."""
    shift = (0.5 * (after - before) / (2 * at - before - after).clamp_min(1e-6)).clamp(-1, 1)
    return shift, at + 0.25 * (after - before) * shift
