"""What is predicted of, as float32 at 16 kHz: files, standard input, arrays."""

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import IO

import av
import numpy as np

from liser_ray.media.audio import MAX_RATE_HZ, MIN_RATE_HZ, SAMPLE_RATE_HZ, Cancelling
from liser_ray.media.container import ByteSource
from liser_ray.media.waveform import WaveformError, decode_waveform
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute

STDIN = "-"
_IN_MEMORY_BYTES = 64 << 20  # of standard input; the rest goes to a temporary file
_BLOCK_SAMPLES = 1 << 16
_LOUDEST = 16.0  # 24 dB above full scale, which some decoders give; 16-bit numbers as floats are far above


class _LocalSource:
    """The bytes of a file on this machine, without PyArrow, which small devices may lack."""

    def __init__(self, file: IO[bytes]):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def open_sound(uri: str) -> Iterator[ByteSource]:
    """The bytes of a recording: a local path, a ``file://`` or ``s3://`` address, or ``-`` for standard input.

    Standard input is read to its end first, since many formats want to seek.

    Raises:
        WaveformError: it can't be opened, or has no bytes.
    """
    if uri.startswith("s3://"):
        from liser_ray.media.source import sound_source  # PyArrow and boto3, for those who have something on S3

        with sound_source(uri) as source:
            yield source
        return
    try:
        path = absolute(uri) if "://" in uri else uri
    except UserError as error:
        raise WaveformError("unreadable", str(error)) from error
    try:
        with _spooled() if uri == STDIN else open(path, "rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                raise WaveformError("empty", "0 bytes")
            file.seek(0)
            yield _LocalSource(file)
    except OSError as error:
        words = {errno.ENOENT: "there is no such file", errno.EISDIR: "a folder"}
        raise WaveformError("unreadable", words.get(error.errno or 0, error.strerror or str(error))) from error


def file_blocks(source: ByteSource) -> Iterator[np.ndarray]:
    """The sound of a recording as it is decoded, float32 [n] each, 16 kHz, mono, -1..1.

    Raises:
        WaveformError: see `liser_ray.media.waveform.decode_waveform`.
    """
    for block in decode_waveform(source):  # of a gap in a video it is all of the gap
        for piece in in_blocks(block):
            yield piece.astype(np.float32) / 32768


def in_blocks(sound: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces [n] of a sound, so short that what is made of one takes little memory."""
    return (sound[start : start + _BLOCK_SAMPLES] for start in range(0, len(sound), _BLOCK_SAMPLES))


class ArrayReader:
    """Arrays of any rate as 16-kHz mono, one after the other.

    Raises:
        ValueError: a rate that there is none of.
    """

    def __init__(self, sample_rate_hz: int):
        is_number = isinstance(sample_rate_hz, Real)
        if not is_number or not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ or sample_rate_hz != int(sample_rate_hz):
            raise ValueError(f"A sample rate of {sample_rate_hz!r} Hz: give a whole number such as 16000 or 44100.")
        self._rate_hz = int(sample_rate_hz)
        self._cancelling = Cancelling()
        self._resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ) if self._rate_hz != SAMPLE_RATE_HZ else None

    def add(self, samples: np.ndarray) -> np.ndarray:
        """What comes out of the resampler, float32 [m], of the next samples.

        Args:
            samples: int16, or float in -1..1; [n], or [channels, n], whose mean is taken, or the loudest where they
                cancel each other out.

        Raises:
            WaveformError: "not finite".
            ValueError: shape, type or range are none of these.
        """
        mono = _mono(samples, self._cancelling)
        if self._resampler is None or not len(mono):
            return mono
        frame = av.AudioFrame.from_ndarray(mono[None], format="flt", layout="mono")
        frame.sample_rate = self._rate_hz
        return _joined(self._resampler.resample(frame))

    def finish(self) -> np.ndarray:
        """What the resampler still holds, float32 [m]; nothing can be added afterwards."""
        return _joined(self._resampler.resample(None) if self._resampler is not None else [])


def _joined(frames: list[av.AudioFrame]) -> np.ndarray:
    parts = [frame.to_ndarray().reshape(-1) for frame in frames if frame is not None and frame.samples]
    return np.concatenate([*parts, np.zeros(0, np.float32)])


def refuse_path(samples: object) -> None:
    """A ValueError for who gives a file's name in place of a waveform."""
    if isinstance(samples, str | bytes | os.PathLike):
        name = os.fsdecode(samples)
        raise ValueError(f"{name!r} is no waveform. Of a file, call predict_file({name!r}).")


def _mono(samples: np.ndarray, cancelling: Cancelling) -> np.ndarray:
    """float32 [n], -1..1."""
    refuse_path(samples)
    array = np.asarray(samples)
    channels = array.shape[0] if array.ndim == 2 else 1
    if array.ndim not in (1, 2) or not channels or (channels > max(array.shape[-1], 8) and array.shape[-1]):
        raise ValueError(f"A waveform of shape {array.shape}: give [samples] or [channels, samples].")
    if array.dtype.newbyteorder("=") == np.int16:  # of either byte order
        array = array.astype(np.float32) / 32768
    elif not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"A waveform of {array.dtype}: give int16, or floats from -1 to 1.")
    if not np.isfinite(array).all():
        raise WaveformError("not finite", "NaN or infinite samples")
    if array.size and np.abs(array).max() > _LOUDEST:
        raise ValueError(
            f"A waveform with values up to {np.abs(array).max():.0f}: give floats from -1 to 1 (16-bit numbers "
            "divided by 32768), or the int16 array itself."
        )
    if array.ndim == 2:
        alone = cancelling.alone(array)
        array = array.mean(axis=0) if alone is None else array[alone]
    return np.ascontiguousarray(array, np.float32)


@contextmanager
def _spooled() -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        if sys.stdin is None:
            raise WaveformError("unreadable", "standard input is closed")
        while piece := sys.stdin.buffer.read(1 << 20):
            file.write(piece)
        yield file
