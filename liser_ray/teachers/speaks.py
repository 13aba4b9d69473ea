"""Is it they who speak? How the motion of a face's mouth goes together with the sound.

What was tried, and how well it tells: benchmarks/results/speaks.md.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.clips import WINDOW_CELLS
from liser_ray.media.speech import speech_shares
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.clips import ClipTeacher
from liser_ray.teachers.kinds.speaks import Options
from liser_ray.teachers.landmarks import aligned, landmarks
from liser_ray.teachers.mobilefacenet import LANDMARK_HINT, MobileFaceNet, load_mobilefacenet
from liser_ray.teachers.targets import NOBODY
from liser_ray.training.precision import Precision

LABELS = ("correlation",)
AROUND_CELLS = 2 * FRAME_RATE_HZ
"""Around a window's middle, that are compared with the sound: 2 s."""
MAX_LAG_CELLS = round(0.2 * FRAME_RATE_HZ)
"""Of the sound after or before the picture."""
MIN_SPEECH = 0.5
"""Share of the 2 s that must be speech: in silence nobody can be told from a listener."""

_MOUTH = slice(48, 68)
_BAND_HZ = (300, 3400)
_LEVEL_S = 0.04
_RANGE_DB = 40.0


class Judged(NamedTuple):
    """What is made of a span's W windows.

    Attributes:
        correlation: float32 [W], -1..1; 0 where it is not known.
        known: bool [W], whether 2 s around the window show the face and have sound of speech.
    """

    correlation: np.ndarray
    known: np.ndarray


def mouth_motion(points: np.ndarray) -> np.ndarray:
    """Mean speed of the mouth's 20 points in successive pictures, float64 [T], in distances of the eyes per picture.

    Of points float [T, 68, 2], T > 1; a mean over three pictures takes off how much the network's points tremble.
    """
    z = np.pad(aligned(points)[:, _MOUTH], ((1, 1), (0, 0)), mode="edge")
    return np.asarray(np.abs(np.gradient((z[:-2] + z[1:-1] + z[2:]) / 3, axis=0)).mean(axis=1))


def level_db(pcm: np.ndarray, n_cells: int) -> np.ndarray:
    """Level of the speech band, 300 to 3,400 Hz, around the middle of each of a span's cells, float64 [n_cells].

    Of sound int16 [n] at 16 kHz; what is more than 40 dB below the 95 % quantile counts as that.
    """
    length = round(_LEVEL_S * SAMPLE_RATE_HZ)
    first = np.round((np.arange(n_cells) + 0.5) / FRAME_RATE_HZ * SAMPLE_RATE_HZ).astype(int) - length // 2
    padded = np.pad(pcm.astype(np.float64) / 32768, (length, length + max(0, first[-1] - len(pcm))))
    spectra = np.fft.rfft(padded[first[:, None] + length + np.arange(length)] * np.hanning(length))
    hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
    band = (hz >= _BAND_HZ[0]) & (hz <= _BAND_HZ[1])
    level = 10 * np.log10((np.abs(spectra[:, band]) ** 2).sum(axis=1) + 1e-12)
    return np.asarray(np.maximum(level, np.quantile(level, 0.95) - _RANGE_DB))


def correlations(mouth: np.ndarray, sound: np.ndarray, starts: np.ndarray, n: int) -> np.ndarray:
    """Pearson's correlation of two signals in windows, by lag.

    Args:
        mouth: float [T].
        sound: float [T].
        starts: int [W], first cells of windows of ``n`` cells of the mouth.
        n: their length, more than `MAX_LAG_CELLS`.

    Returns:
        float64 [W, L], of the sound `MAX_LAG_CELLS` earlier to as much later. What would reach over an end of the sound
        is left away on both sides; a signal that does not change goes together with nothing, 0.
    """
    lags = range(-MAX_LAG_CELLS, MAX_LAG_CELLS + 1)
    found = np.zeros((len(starts), len(lags)))
    for window, start in enumerate(starts.tolist()):
        for index, lag in enumerate(lags):
            low, high = max(0, start + lag), min(len(sound), start + n + lag)
            x, y = mouth[low - lag : high - lag], sound[low:high]
            x, y = x - x.mean(), y - y.mean()
            found[window, index] = (x @ y) / (math.sqrt((x @ x) * (y @ y)) + 1e-9)
    return found


def judge(points: np.ndarray, whole: np.ndarray, pcm: np.ndarray, speech: np.ndarray) -> Judged:
    """The largest correlation of mouth motion and sound within 0.2 s of lag, in the 2 s around each window of a span.

    Args:
        points: float32 [W, 16, 68, 2], of each picture; whatever where a window is not ``whole``.
        whole: bool [W], whether all of a window's pictures show the followed face.
        pcm: int16 [n], the span's sound, 16 kHz mono.
        speech: int [S, 2], of `speech_stretches`.
    """
    motion, starts = np.zeros(len(whole) * WINDOW_CELLS), np.full(len(whole), -1)
    runs = np.flatnonzero(np.diff(np.r_[False, whole, False])).reshape(-1, 2)
    for first, last in runs.tolist():
        begin, end = first * WINDOW_CELLS, last * WINDOW_CELLS
        if end - begin >= AROUND_CELLS:
            motion[begin:end] = mouth_motion(points[first:last].reshape(-1, 68, 2))
            middles = np.arange(begin, end, WINDOW_CELLS) + WINDOW_CELLS // 2
            starts[first:last] = (middles - AROUND_CELLS // 2).clip(begin, end - AROUND_CELLS)
    known = starts >= 0
    if known.any():
        samples = np.round(starts * (SAMPLE_RATE_HZ / FRAME_RATE_HZ)).astype(int)
        around = round(AROUND_CELLS / FRAME_RATE_HZ * SAMPLE_RATE_HZ)
        known &= speech_shares(speech, samples, around) >= MIN_SPEECH
    correlation = np.zeros(len(whole), np.float32)
    if known.any():
        level = level_db(pcm, len(motion))
        correlation[known] = correlations(motion, level, starts[known], AROUND_CELLS).max(axis=1)
    return Judged(correlation, known)


class SpeaksTeacher(ClipTeacher):
    """Of each clip the landmarks, float32 [N, 16 * 68 * 2]; `judge` makes the target of a span's with its sound.

    Attributes:
        threshold: a window whose correlation is known and below it shows somebody who does not speak.
    """

    def __init__(self, name: str, network: MobileFaceNet, digest: str, threshold: float, device: torch.device):
        # In float32 on any device: what trembles in bfloat16 would be motion.
        network = network.float().to(device)

        def points(clips: Tensor) -> Tensor:
            return landmarks(network, clips).flatten(1)

        super().__init__(name, LABELS, digest, 0, device, "float32", points, "scalar", NOBODY)
        self.threshold = threshold


def load_speaks_teacher(name: str, options: Options, device: torch.device, _: Precision) -> SpeaksTeacher:
    """Fetch, check and load the landmark network. See `liser_ray.teachers.kinds.speaks`."""
    path = fetch(options.weights, f"{LANDMARK_HINT} {name}=speaks:LANDMARK_WEIGHTS.")
    # The threshold decides on other targets' windows, so a job with another one does not go on with the same table.
    digest = f"{sha256(path)}+threshold={options.threshold:g}"
    return SpeaksTeacher(name, load_mobilefacenet(path), digest, options.threshold, device)
