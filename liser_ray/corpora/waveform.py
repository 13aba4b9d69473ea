"""The sound of one whole recording as 16-kHz mono PCM, or the words for why it can't be used."""

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.container import open_container
from liser_ray.media.source import Source
from liser_ray.outcome import MediaError, Reason

MIN_DURATION_S = 0.1
SILENCE_DB = -80.0  # peak, relative to full scale

_SILENCE_PEAK = round(10 ** (SILENCE_DB / 20) * 32768)
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


def read_waveform(uri: str) -> np.ndarray:
    """Decode the best sound track of a recording, local or on S3, in any format, rate and number of channels.

    Broken packets are skipped, unless less than half of the stated length is left.

    Returns:
        int16 [samples], 16 kHz, mono (the mean of the channels).

    Raises:
        WaveformError: see there.
    """
    try:
        source = Source(uri)
    except MediaError as error:
        if error.reason is Reason.EMPTY:
            raise WaveformError("empty", "0 bytes") from error
        raise WaveformError("unreadable", error.detail) from error
    try:
        pcm = _decode(source)
        source.check()  # demuxers take a failed read for the end of the file
    except MediaError as error:
        raise WaveformError("unreadable", error.detail) from error
    finally:
        source.release()
    if len(pcm) == 0:
        raise WaveformError("empty", "no samples")
    if len(pcm) < MIN_DURATION_S * SAMPLE_RATE_HZ:
        raise WaveformError(f"shorter than {MIN_DURATION_S} s", f"{len(pcm) / SAMPLE_RATE_HZ:.3f} s")
    # abs(-32768) overflows int16
    if max(int(pcm.max()), -int(pcm.min())) <= _SILENCE_PEAK:
        raise WaveformError("silent", f"no sample above {SILENCE_DB:.0f} dB of full scale")
    return pcm


def _decode(source: Source) -> np.ndarray:
    try:
        container = open_container(source)
    except MemoryError:
        raise
    except Exception as error:
        source.check()
        source.seek(0)
        if source.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise WaveformError(
                "unreadable", "a Git LFS pointer in place of the recording; run git lfs pull"
            ) from error
        raise WaveformError("unreadable", f"no container of video or sound ({error})") from error
    with container:
        audio = container.streams.best("audio")
        if not isinstance(audio, AudioStream):
            raise WaveformError("unreadable", "no sound track")
        for stream in container.streams:
            if stream.index != audio.index:
                stream.discard = Discard.all
        audio.codec_context.thread_count = 1  # as many recordings as there are workers are decoded at once
        pcm, n_errors = _decode_track(container, audio)
        length_s = _length_s(container, audio)
    kept_s = len(pcm) / SAMPLE_RATE_HZ
    if n_errors and (not len(pcm) or (length_s is not None and kept_s < length_s / 2)):
        of = f" of {length_s:.2f}" if length_s is not None else ""
        raise WaveformError("unreadable", f"only {kept_s:.2f}{of} s can be decoded")
    return pcm


def _decode_track(container: InputContainer, audio: AudioStream) -> tuple[np.ndarray, int]:
    """The sound, int16 [samples], and how many packets could not be decoded."""
    sound = _Sound()
    n_errors = 0
    packets = container.demux(audio)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return sound.finish(), n_errors
        except av.FFmpegError:  # the container ends in the middle of something
            n_errors += 1
            packet = None
        try:
            for frame in audio.codec_context.decode(packet):
                sound.add(frame)
        except av.EOFError:
            pass
        except (av.FFmpegError, ValueError):  # ValueError: a format that the resampler does not take
            n_errors += 1
        if packet is None:
            return sound.finish(), n_errors


class _Sound:
    """Decoded sound, resampled as it comes; what comes in another format goes on behind it."""

    def __init__(self) -> None:
        self._out: list[np.ndarray] = []
        self._format: tuple[int, str, str] | None = None
        self._resampler: av.AudioResampler | None = None

    def add(self, frame: av.AudioFrame) -> None:
        if frame.samples == 0 or frame.sample_rate <= 0:
            return
        # Before the conversion to integers, which makes some number of what is none.
        if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
            raise WaveformError("not finite", "NaN or infinite samples")
        kind = frame.sample_rate, frame.format.name, frame.layout.name
        if self._resampler is None or kind != self._format:
            self._flush()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            self._format = kind
        frame.pts = None  # the resampler counts samples
        self._collect(frame)

    def finish(self) -> np.ndarray:
        self._flush()
        return np.concatenate(self._out) if self._out else np.zeros(0, np.int16)

    def _flush(self) -> None:
        if self._resampler is not None:
            self._collect(None)
            self._resampler = None

    def _collect(self, frame: av.AudioFrame | None) -> None:
        assert self._resampler is not None
        # A resampler with nothing to do hands the None that ends the stream back.
        self._out += [out.to_ndarray().reshape(-1) for out in self._resampler.resample(frame) if out is not None]


def _length_s(container: InputContainer, audio: AudioStream) -> float | None:
    if audio.duration and audio.time_base:
        return float(audio.duration * audio.time_base)
    duration = container.duration
    return duration / av.time_base if duration is not None and duration > 0 else None
