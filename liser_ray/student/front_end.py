"""Numbers of the student's front end, which `features.LogMel` and the ONNX file compute. No PyTorch.

Number of bands, window and stride are the paper's (Pendyala et al. 2025). It is silent about the rest, which is as in
torchaudio here: Hann window, power spectrum, HTK Mel scale from 0 to 8 kHz with triangles of height 1, frames centred
on multiples of the stride with the sound mirrored at both ends; and about the logarithm: natural, with a floor.
"""

import math

import numpy as np

from liser_ray.media.audio import SAMPLE_RATE_HZ

N_BANDS = 64
FRAME_SAMPLES = 2048
"""128 ms under each frame's window."""
STRIDE_SAMPLES = 512
"""32 ms from frame to frame."""

SEGMENT_S = 3.0
SEGMENT_SAMPLES = round(SEGMENT_S * SAMPLE_RATE_HZ)
SEGMENT_FRAMES = 1 + SEGMENT_SAMPLES // STRIDE_SAMPLES
EVALUATION_STRIDE_S = 0.1
EVALUATION_STRIDE_SAMPLES = round(EVALUATION_STRIDE_S * SAMPLE_RATE_HZ)

POWER_FLOOR = 1e-6
"""Smaller band powers count as this. It is about what rounding to 16 bits adds to each band. There is nothing to hear
below it, yet a lower floor would set digital silence (padding, and a twentieth of RAVDESS) far apart from a quiet room.
"""

TINY_POWER = 1e-12
"""The floor where another one, relative to the recording's own level, comes later (`SPEECH_RANGE`)."""

SPEECH_RANGE = 6 * math.log(10)
"""What lies more than 60 dB below the loudest band of a recording's speech counts as that: no room is quieter, and in
digital silence there is nothing to hear."""

MIN_BAND_STD = 1e-2
"""Smallest deviation to divide by: a silent band has none."""

EDGE_SAMPLES = FRAME_SAMPLES // 2
"""So many are mirrored at each end."""


def frame_count(n_samples: int) -> int:
    """Frames of n samples: those whose centre lies in the sound or at its end."""
    return 1 + n_samples // STRIDE_SAMPLES


def window_count(n_samples: int, step_samples: int = EVALUATION_STRIDE_SAMPLES) -> int:
    """3-s windows of a recording of n samples, one each step: all are full, but a shorter recording has one, padded."""
    return 1 + max(0, n_samples - SEGMENT_SAMPLES) // step_samples


def mel_corners_hz() -> np.ndarray:
    """Where the triangles begin, peak and end, float64 [66]: band b from corner b over b + 1 to b + 2."""
    top_mel = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    return 700 * (10 ** (np.linspace(0, top_mel, N_BANDS + 2) / 2595) - 1)


def mirrored(n: int, length: int) -> np.ndarray:
    """Positions 0..n-1, int64 [length], of n things that go forth and back until there are enough."""
    period = max(1, 2 * n - 2)
    places = np.arange(length) % period
    return np.minimum(places, period - places)
