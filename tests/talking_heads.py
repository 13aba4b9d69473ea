"""Generated talking heads for tests: scikit-image's portrait, which even OpenCV's Haar cascade finds, and a voice."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from media_files import write_video

from liser_ray.demo.voices import random_voice, speak

SIZE = (240, 240)  # width, height; OpenCV's cascade takes twice as long at 320


def portrait_at(time_s: float, phase: float = 0.0) -> np.ndarray:
    """The portrait, uint8 [240, 240, 3], drifting by a few pixels."""
    shift = np.float32([[1, 0, 6 * np.sin(time_s + phase)], [0, 1, 4 * np.cos(1.3 * time_s + phase)]])
    return cv2.warpAffine(_portrait(), shift, SIZE, borderMode=cv2.BORDER_REPLICATE)


@cache
def _portrait() -> np.ndarray:
    return cv2.resize(skimage.data.astronaut()[:320, 60:380], SIZE, interpolation=cv2.INTER_AREA)


def voice(duration_s: float, seed: int = 0) -> np.ndarray:
    """Synthetic speech, float32 [n], 16 kHz."""
    rng = np.random.default_rng(seed)
    return speak(random_voice(rng), "neutral", duration_s, rng).waveform


def write_talking_head(path: Path, duration_s: float = 3.2, seed: int = 0, **options: object) -> Path:
    """A person who talks; `options` as of `write_video`."""
    values = {"frames": lambda time_s: portrait_at(time_s, seed), "fps": 25, "duration_s": duration_s}
    values |= {"audio": voice(duration_s, seed), "audio_rate_hz": 16_000}
    return write_video(path, **(values | options))
