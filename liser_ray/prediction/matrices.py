"""The front end as matrix products, for runtimes that have no Fourier transform.

One product would need a matrix of 17 MB. Two do it, 32 · 64 = 2048, with a turn between (Cooley and Tukey 1965).
"""

import numpy as np

from liser_ray.student.front_end import (
    FRAME_SAMPLES,
    MIN_BAND_STD,
    POWER_FLOOR,
    SAMPLE_RATE_HZ,
    hann_window,
    mel_corners_hz,
)

N_LONG, N_SHORT = 64, 32
"""The factors of the transform's length."""

N_KEPT = N_SHORT // 2 + 1
"""Rows of the short transform that real sound needs."""


def front_end_numbers() -> dict[str, np.ndarray]:
    """The transform's two matrices, the turn between them, and where the bands lie.

    With sample n = 64·a + b and frequency k = c + 32·d, the transform's exp(-2πi·n·k / 2048) is the product of
    exp(-2πi·a·c / 32), exp(-2πi·b·c / 2048) and exp(-2πi·b·d / 64). Sound is real, so that frequency 2048 - k has the
    power of k: c from 0 to 16 gives all of them, those with c = 0 and c = 16 twice.
    """
    a, b, c, d = np.arange(N_SHORT), np.arange(N_LONG), np.arange(N_KEPT), np.arange(N_LONG)
    short = np.exp(-2j * np.pi * np.outer(c, a) / N_SHORT)
    turn = np.exp(-2j * np.pi * np.outer(c, b) / FRAME_SAMPLES)
    long = np.exp(-2j * np.pi * np.outer(b, d) / N_LONG)
    k = c[:, None] + N_SHORT * d
    bins = np.where(k <= FRAME_SAMPLES // 2, k, FRAME_SAMPLES - k)
    bins[(k > FRAME_SAMPLES // 2) & (c[:, None] % (N_SHORT // 2) == 0)] = -1  # in no band
    numbers = {
        "hann": hann_window(),
        "short_transform": np.concatenate([short.real, short.imag]),
        "turn_re": turn.real,
        "turn_im": turn.imag,
        "long_transform": np.block([[long.real, long.imag], [-long.imag, long.real]]),
        "corners_hz": mel_corners_hz(),
        "frequencies_hz": bins.reshape(-1, 1) * (SAMPLE_RATE_HZ / FRAME_SAMPLES),
        "power_floor": np.array(POWER_FLOOR),
        "min_std": np.array(MIN_BAND_STD),
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in numbers.items()}
