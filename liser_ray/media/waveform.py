"""The sound of one whole recording as 16-kHz mono PCM, block by block, or the words for why it can't be used."""

from collections.abc import Iterator

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.container import ByteSource, open_container

MIN_DURATION_S = 0.1
SILENCE_DB = -80.0  # peak, relative to full scale

_SILENCE_PEAK = 10 ** (SILENCE_DB / 20) * 32768
_LFS_POINTER = b"version https://git-lfs"


class WaveformError(Exception):
    """A recording that can't be used.

    Attributes:
        reason: one of "unreadable", "empty", "shorter than 0.1 s", "silent", "not finite".
        detail: more about it; may be empty.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def decode_waveform(source: ByteSource) -> Iterator[np.ndarray]:
    """Decode the best sound track of a recording, in any format, rate and number of channels.

    It comes as it is decoded, so that a long recording takes no more memory than a short one. Broken packets are
    skipped, unless less than half of the stated length is left.

    Args:
        source: the recording's bytes, at their start.

    Yields:
        int16 [n], n > 0, 16 kHz, mono (the mean of the channels).

    Raises:
        WaveformError: see there; what is wrong with all of it ("silent") at its end.
    """
    n_samples = peak = 0
    for block in _blocks(source):
        n_samples += len(block)
        peak = max(peak, int(block.max()), -int(block.min()))  # abs(-32768) overflows int16
        yield block
    check_heard(n_samples, peak)


def check_heard(n_samples: int, peak: float) -> None:
    """Refuse a recording without anything to hear.

    Args:
        n_samples: at 16 kHz.
        peak: the largest absolute value, where 32768 is full scale.

    Raises:
        WaveformError: "empty", "shorter than 0.1 s" or "silent".
    """
    if n_samples == 0:
        raise WaveformError("empty", "no samples")
    if n_samples < MIN_DURATION_S * SAMPLE_RATE_HZ:
        raise WaveformError(f"shorter than {MIN_DURATION_S} s", f"{n_samples / SAMPLE_RATE_HZ:.3f} s")
    if peak <= _SILENCE_PEAK:
        raise WaveformError("silent", f"no sample above {SILENCE_DB:.0f} dB of full scale")


def _blocks(source: ByteSource) -> Iterator[np.ndarray]:
    """The sound as it is decoded, int16 [n]."""
    with _open(source) as container:
        audio = container.streams.best("audio")
        if not isinstance(audio, AudioStream):
            raise WaveformError("unreadable", "no sound track")
        for stream in container.streams:
            if stream.index != audio.index:
                stream.discard = Discard.all
        audio.codec_context.thread_count = 1  # as many recordings as there are workers are decoded at once
        packets = container.demux(audio)
        resampled = _Resampled()
        n_samples = n_errors = 0
        more = True
        while more:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the container ends in the middle of something
                n_errors += 1
                packet = None
            more = packet is not None
            try:
                for frame in audio.codec_context.decode(packet):
                    for block in resampled.add(frame):
                        n_samples += len(block)
                        yield block
            except av.EOFError:
                pass
            except (av.FFmpegError, ValueError):  # ValueError: a format that the resampler does not take
                n_errors += 1
        for block in resampled.finish():
            n_samples += len(block)
            yield block
        stated_s = _stated_s(container, audio)
    kept_s = n_samples / SAMPLE_RATE_HZ
    if n_errors and (n_samples == 0 or (stated_s is not None and kept_s < stated_s / 2)):
        of = f" of {stated_s:.2f}" if stated_s is not None else ""
        raise WaveformError("unreadable", f"only {kept_s:.2f}{of} s can be decoded")


def _open(source: ByteSource) -> InputContainer:
    try:
        return open_container(source)
    except MemoryError:
        raise
    except Exception as error:
        source.seek(0)
        if source.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise WaveformError(
                "unreadable", "a Git LFS pointer in place of the recording; run git lfs pull"
            ) from error
        words = getattr(error, "strerror", None) or error  # FFmpeg's number says nothing to anybody
        raise WaveformError("unreadable", f"no container of video or sound ({words})") from error


class _Resampled:
    """Decoded sound at 16 kHz; what comes in another format goes on behind it."""

    def __init__(self) -> None:
        self._format: tuple[int, str, str] | None = None
        self._resampler: av.AudioResampler | None = None

    def add(self, frame: av.AudioFrame) -> list[np.ndarray]:
        if frame.samples == 0 or frame.sample_rate <= 0:
            return []
        # Before the conversion to integers, which makes some number of what is none.
        if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
            raise WaveformError("not finite", "NaN or infinite samples")
        kind = frame.sample_rate, frame.format.name, frame.layout.name
        before: list[np.ndarray] = []
        if self._resampler is None or kind != self._format:
            before = self.finish()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            self._format = kind
        frame.pts = None  # the resampler counts samples
        return before + self._through(self._resampler, frame)

    def finish(self) -> list[np.ndarray]:
        """What the resampler still holds."""
        resampler, self._resampler = self._resampler, None
        return self._through(resampler, None) if resampler is not None else []

    @staticmethod
    def _through(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[np.ndarray]:
        # A resampler with nothing to do hands the None that ends the stream back.
        frames = [out for out in resampler.resample(frame) if out is not None and out.samples]
        return [out.to_ndarray().reshape(-1) for out in frames]


def _stated_s(container: InputContainer, audio: AudioStream) -> float | None:
    """The length that the file names."""
    if audio.duration and audio.time_base:
        return float(audio.duration * audio.time_base)
    duration = container.duration
    return duration / av.time_base if duration is not None and duration > 0 else None
