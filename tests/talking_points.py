"""Landmarks of a face whose lips move as fast as a sound is loud, made of nothing but numbers."""

import numpy as np

_PLAIN = np.random.default_rng(0).uniform(0.2, 0.8, (68, 2))
_PLAIN[36], _PLAIN[45] = (0.3, 0.4), (0.7, 0.4)  # the eyes' outer corners


def n_samples(n_cells: int) -> int:
    """Of so many pictures at 30 Hz."""
    return round(n_cells * 16_000 / 30)


def loudness(seed: int, n_cells: int) -> np.ndarray:
    """0..1, float64 [n_cells], which changes from syllable to syllable, four or so in a second."""
    noise = np.random.default_rng(seed).normal(size=n_cells + 40)
    smooth = np.convolve(noise, np.hanning(9), mode="same")[20 : 20 + n_cells]
    return np.clip(0.5 + smooth / 4, 0, 1)


def sound_of(loud: np.ndarray) -> np.ndarray:
    """int16 [n]: noise that is as loud as that, over a range of 30 dB."""
    n = n_samples(len(loud))
    level_db = np.interp(np.arange(n) * 30 / 16_000 - 0.5, np.arange(len(loud)), loud) * 30 - 30
    noise = np.random.default_rng(9).normal(size=n) * 6_000
    return (noise * 10 ** (level_db / 20)).clip(-32767, 32767).astype(np.int16)


def phases_of(loud: np.ndarray) -> np.ndarray:
    """Where on its small circle each picture's mouth is, in radians."""
    return np.cumsum(loud)


def faces_at(phases: np.ndarray) -> np.ndarray:
    """68 points with the mouth there, float64 [T, 68, 2], as shares of the picture."""
    faces = np.repeat(_PLAIN[None], len(phases), axis=0)
    faces[:, 48:68] += 0.02 * np.stack([np.cos(phases), np.sin(phases)], axis=1)[:, None]
    return faces


def points_of(loud: np.ndarray, head_seed: int | None = None) -> np.ndarray:
    """float64 [W, 16, 68, 2]; with a seed the head turns and shifts in the picture, and comes nearer."""
    points = faces_at(phases_of(loud))
    if head_seed is not None:
        rng = np.random.default_rng(head_seed)
        angle, scale = rng.uniform(-0.1, 0.1, len(loud)), rng.uniform(0.9, 1.1, len(loud))
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
        points = points @ turn * scale[:, None, None] + rng.uniform(-0.1, 0.1, (len(loud), 1, 2))
    return points[: len(loud) // 16 * 16].reshape(-1, 16, 68, 2)
