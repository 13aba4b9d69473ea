"""Generated talking heads for tests: scikit-image's portrait, which even OpenCV's Haar cascade finds, and a voice."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from media_files import write_video

from liser_ray.demo.voices import random_voice, speak

SIZE = (240, 240)  # width, height; OpenCV's cascade takes twice as long at 320


_MOUTH = (124.0, 108.0)  # x, y in the portrait


def portrait_at(time_s: float, phase: float = 0.0, talks: bool = True) -> np.ndarray:
    """The portrait, uint8 [240, 240, 3], drifting by a few pixels; its jaw goes down and up if it talks."""
    x, y = np.meshgrid(np.arange(SIZE[0], dtype=np.float32), np.arange(SIZE[1], dtype=np.float32))
    x, y = x - 6 * np.float32(np.sin(time_s + phase)), y - 4 * np.float32(np.cos(1.3 * time_s + phase))
    if talks:
        near = np.exp(-(((x - _MOUTH[0]) / 18) ** 2) - ((y - _MOUTH[1]) / 12) ** 2)
        y = y - np.float32(4 * np.sin(9 * time_s)) * near
    return cv2.remap(_portrait(), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


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
