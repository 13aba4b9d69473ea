"""The student's front end in NumPy, for where there is no PyTorch: its numbers, its spectrogram, its windows.

Number of bands, window and stride are the paper's (Pendyala et al. 2025). It is silent about the rest, which is as in
torchaudio here: Hann window, power spectrum, HTK Mel scale from 0 to 8 kHz with triangles of height 1, frames centred
on multiples of the stride with the sound mirrored at both ends; and about the logarithm: natural, with a floor.
"""

from functools import cache

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


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Natural logarithms of the Mel bands' powers, float32 [64, 1 + n // 512], as `features.LogMel` computes them.

    Args:
        waveform: float32 [n], mono, 16 kHz, -1..1, n at least 1,025.
    """
    return log_mel_of_padded(np.pad(waveform, EDGE_SAMPLES, mode="reflect"))


def log_mel_of_padded(waveform: np.ndarray) -> np.ndarray:
    """The same without mirroring: one frame for each whole window, float32 [64, 1 + (n - 2048) // 512]."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME_SAMPLES)[::STRIDE_SAMPLES]
    spectrum = np.fft.rfft(frames * hann_window())
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.log(np.maximum(power @ mel_filters(), POWER_FLOOR)).T.astype(np.float32)


@cache
def hann_window() -> np.ndarray:
    """The periodic Hann window, float32 [2048]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)).astype(np.float32)


@cache
def mel_filters() -> np.ndarray:
    """Weight of each frequency in each band, float32 [1025, 64]: triangles between neighbours on the HTK Mel scale."""
    corners_hz = mel_corners_hz()
    frequencies_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, FRAME_SAMPLES // 2 + 1)[:, None]
    rising = (frequencies_hz - corners_hz[:-2]) / np.diff(corners_hz)[:-1]
    falling = (corners_hz[2:] - frequencies_hz) / np.diff(corners_hz)[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def mel_corners_hz() -> np.ndarray:
    """Where the triangles begin, peak and end, float64 [66]: band b from corner b over b + 1 to b + 2."""
    top_mel = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    return 700 * (10 ** (np.linspace(0, top_mel, N_BANDS + 2) / 2595) - 1)


class SpectrogramStream:
    """The log-Mel spectrogram of a recording that comes in pieces, whatever their lengths, in constant memory."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)  # the samples under the frames that are not complete yet
        self.n_samples = 0
        self._n_frames = 0

    def add(self, samples: np.ndarray) -> np.ndarray:
        """The frames that the next samples, float32 [n], complete: float32 [64, f], f from 0."""
        begun = self.n_samples >= FRAME_SAMPLES
        self.n_samples += len(samples)
        self._held = np.concatenate([self._held, samples])
        if self.n_samples < FRAME_SAMPLES:
            return np.zeros((N_BANDS, 0), np.float32)
        if not begun:
            self._held = _mirrored_before(self._held)
        n_complete = max(0, 1 + (len(self._held) - FRAME_SAMPLES) // STRIDE_SAMPLES)
        if n_complete == 0:
            return np.zeros((N_BANDS, 0), np.float32)
        frames = log_mel_of_padded(self._held)
        self._held = self._held[n_complete * STRIDE_SAMPLES :]
        self._n_frames += n_complete
        return frames

    def last(self) -> np.ndarray:
        """The frames that are left if the recording ends here, float32 [64, f].

        They see what they would see then: the mirrored sound, and zeros where it is shorter than 3 s.

        Raises:
            ValueError: there was no sound.
        """
        if not self.n_samples:
            raise ValueError("No sound, no frames.")
        rest = np.pad(self._held, (0, max(0, SEGMENT_SAMPLES - self.n_samples)))
        if self.n_samples < FRAME_SAMPLES:
            rest = _mirrored_before(rest)
        rest = np.pad(rest, (0, EDGE_SAMPLES), mode="reflect")
        return log_mel_of_padded(rest)[:, : frame_count(self.n_samples) - self._n_frames]


class RunningStatistics:
    """Mean and deviation of each band over a recording that comes in pieces, in constant memory.

    What a student with normalisation by utterance hears is relative to them.
    """

    def __init__(self) -> None:
        self._spectrogram = SpectrogramStream()
        self._count = 0
        self._sum = np.zeros(N_BANDS)
        self._squares = np.zeros(N_BANDS)

    def add(self, samples: np.ndarray) -> None:
        """The next samples, float32 [n], any number of them."""
        frames = self._spectrogram.add(samples).astype(np.float64)
        self._count += frames.shape[1]
        self._sum += frames.sum(axis=1)
        self._squares += np.square(frames).sum(axis=1)

    def statistics(self) -> np.ndarray:
        """Mean and deviation if the recording ends here, float32 [2, 64].

        Raises:
            ValueError: there was no sound.
        """
        last = self._spectrogram.last().astype(np.float64)
        count = self._count + last.shape[1]
        mean = (self._sum + last.sum(axis=1)) / count
        squares = (self._squares + np.square(last).sum(axis=1)) / count
        return np.stack([mean, np.sqrt(np.maximum(0, squares - np.square(mean)))]).astype(np.float32)


def _mirrored_before(samples: np.ndarray) -> np.ndarray:
    return np.pad(samples, (EDGE_SAMPLES, 0), mode="reflect")
