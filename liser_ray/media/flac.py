"""The sound of a span as bytes, and back."""

import io

import numpy as np
import soundfile

from liser_ray.media.audio import SAMPLE_RATE_HZ


def encode_flac(pcm: np.ndarray) -> bytes:
    """FLAC of 16 kHz mono sound, int16 [n]; without loss."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(audio: bytes) -> np.ndarray:
    """The int16 [n] that `encode_flac` was given."""
    pcm, _ = soundfile.read(io.BytesIO(audio), dtype="int16")
    return np.asarray(pcm)
