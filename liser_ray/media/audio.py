"""Decoded sound, in whatever rates and layouts it comes, as 16-kHz mono; and where in a span its samples lie."""

import contextlib

import av
import numpy as np

SAMPLE_RATE_HZ = 16_000
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
"""Of sound that is taken: a broken header may say that a second has one sample."""

MAX_DRIFT_S = 0.06
"""Time stamps further than this from the count of samples start a new run; less is jitter and is ignored."""

SILENCE_DB = -80.0
"""Sound whose peak, relative to full scale, is no higher is silence."""

SILENCE_PEAK = 10 ** (SILENCE_DB / 20)

_CANCELLED = 0.02
"""Channels cancel out where their sum has less of their energy: it is 1 for independent channels, 2 for two alike."""

_HELD_S = 0.5
_WARM_UP_S = 0.1  # sound before the span that still goes through the resampler, far longer than its filter


class Cancelling:
    """Whether the channels of a sound cancel each other out, as two do of which one was inverted."""

    def __init__(self) -> None:
        self._energies = np.zeros(1)  # of the channels so far
        self._sums = np.zeros(1)
        self._energy_of_sum = 0.0
        self._n = 0

    def alone(self, channels: np.ndarray) -> int | None:
        """The one channel to take in place of all if they do, by all so far; the next part is float [channels, n]."""
        channels = np.nan_to_num(channels.astype(np.float64))
        if len(channels) != len(self._energies):
            self._energies, self._sums = np.zeros(len(channels)), np.zeros(len(channels))
            self._energy_of_sum, self._n = 0.0, 0
        self._n += channels.shape[1]
        self._sums += channels.sum(axis=1)
        self._energies += np.square(channels).sum(axis=1)
        self._energy_of_sum += float(np.square(channels.sum(axis=0)).sum())
        n = max(1, self._n)  # without the constant that a channel may have, which is no sound
        energies = self._energies - np.square(self._sums) / n
        energies[energies < 1e-9 * self._energies] = 0  # what rounding leaves of constants
        cancel = self._energy_of_sum - self._sums.sum() ** 2 / n < _CANCELLED * energies.sum()
        return int(energies.argmax()) if cancel else None


class Resampler:
    """Decoded sound of one format without gaps, at 16 kHz mono.

    Channels are mixed as FFmpeg mixes their layout; to their mean where it knows none. Where they cancel each other out
    (one of two was inverted), the loudest is taken alone.

    Attributes:
        duration_s: of what it was given.
    """

    def __init__(self, first: av.AudioFrame):
        """For frames of the format of the first one; a `ValueError` if its rate is none that sound has."""
        if not MIN_RATE_HZ <= first.sample_rate <= MAX_RATE_HZ:
            raise ValueError(f"a sample rate of {first.sample_rate} Hz")
        self.duration_s = 0.0
        self._format = _format_of(first)
        self._n_in = 0
        self._n_channels = first.layout.nb_channels
        self._cancelling = Cancelling()
        self._held: list[av.AudioFrame] = []  # until they are enough to tell whether the channels cancel out
        self._held_samples = 0
        self._knows_layout = self._n_channels < 2 or first.layout.name == "stereo" or _knows(first)
        self._alone: int | None = None  # the one channel that is taken
        self._resampler = _to_mono()

    @property
    def note(self) -> str:
        """What is done with the channels, if that is unusual; else ""."""
        if self._alone is not None:
            return f"channel {self._alone + 1} of {self._n_channels} alone, since the channels cancel out"
        return "" if self._knows_layout else f"mean of {self._n_channels} channels of no known layout"

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether a frame has the format of the first one."""
        return _format_of(frame) == self._format

    def add(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """What comes out when a frame goes in; int16 [n] each, n > 0."""
        self._n_in += frame.samples
        self.duration_s = self._n_in / frame.sample_rate
        frame.pts = None  # the resampler counts samples; jitter in the time stamps is not its concern
        if self._n_channels < 2:
            return self._through(frame)
        self._held.append(frame)
        self._held_samples += frame.samples
        return self._mixed() if self._held_samples >= _HELD_S * frame.sample_rate else []

    def finish(self) -> list[np.ndarray]:
        """What the resampler still holds."""
        return [*self._mixed(), *self._through(None)]

    def _mixed(self) -> list[np.ndarray]:
        """What comes out for the frames that were held back."""
        frames, self._held, self._held_samples = self._held, [], 0
        heard = [channels_of(frame) for frame in frames]
        alone = self._cancelling.alone(np.concatenate(heard, axis=1)) if heard else self._alone
        out: list[np.ndarray] = []
        if alone != self._alone:
            out += self._through(None)
            self._resampler, self._alone = _to_mono(), alone
        for frame, channels in zip(frames, heard, strict=True):
            if alone is None and self._knows_layout:
                out += self._through(frame)
            else:
                mono = channels.mean(axis=0) if alone is None else channels[alone]
                out += self._through(_mono_frame(mono, frame.sample_rate))
        return out

    def _through(self, frame: av.AudioFrame | None) -> list[np.ndarray]:
        # A resampler with nothing to do hands the None that ends the stream back.
        out = [one for one in self._resampler.resample(frame) if one is not None and one.samples]
        return [one.to_ndarray().reshape(-1) for one in out]


class SpanSound:
    """The sound of a span, from decoded frames with their times.

    Sound is resampled in runs without a gap or a change of format; each run lies where its first time stamp says.
    Gaps are zeros; where time stamps jump back, the later sound wins.
    """

    def __init__(self, n_samples: int):
        self.covered_s: tuple[float, float] | None = None  # from the first frame to the last one, within the span
        self.note = ""  # see `Resampler`
        self._pcm = np.zeros(n_samples, np.int16)
        self._duration_s = n_samples / SAMPLE_RATE_HZ
        self._run: Resampler | None = None
        self._run_start_s = 0.0
        self._run_samples: list[np.ndarray] = []

    def add(self, frame: av.AudioFrame, time_s: float | None) -> None:
        """Add a decoded frame that starts at a time from the span's start; None: right after the one before."""
        if frame.samples == 0 or frame.sample_rate <= 0:
            return
        run_end_s = self._run_start_s + self._run.duration_s if self._run else 0.0
        time_s = run_end_s if time_s is None else time_s
        end_s = time_s + frame.samples / frame.sample_rate
        if end_s < -_WARM_UP_S or time_s > self._duration_s + _WARM_UP_S:
            return
        if self._run is None or not self._run.takes(frame) or abs(time_s - run_end_s) > MAX_DRIFT_S:
            self._close_run()
            self._run, self._run_start_s = Resampler(frame), time_s
        self._run_samples += self._run.add(frame)
        if end_s > 0 and time_s < self._duration_s:
            first_s, last_s = self.covered_s or (self._duration_s, 0.0)
            self.covered_s = max(0.0, min(first_s, time_s)), min(self._duration_s, max(last_s, end_s))

    def finish(self) -> np.ndarray:
        """The span's sound, int16 [n_samples]."""
        self._close_run()
        return self._pcm

    def _close_run(self) -> None:
        if self._run is None:
            return
        samples = np.concatenate([*self._run_samples, *self._run.finish(), np.zeros(0, np.int16)])
        start = round(self._run_start_s * SAMPLE_RATE_HZ)
        source = samples[max(0, -start) : max(0, len(self._pcm) - start)]
        self._pcm[max(0, start) : max(0, start) + len(source)] = source
        self.note = self._run.note or self.note
        self._run, self._run_samples = None, []


def channels_of(frame: av.AudioFrame) -> np.ndarray:
    """The samples, float32 [channels, n], where 1 is full scale."""
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, frame.layout.nb_channels).T
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    full_scale = 1.0 if array.dtype.kind == "f" else 2.0 ** (8 * array.dtype.itemsize - 1)
    return array.astype(np.float32) / np.float32(full_scale)


def _to_mono() -> av.AudioResampler:
    return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)


def _knows(frame: av.AudioFrame) -> bool:
    """Whether FFmpeg can mix the layout."""
    with contextlib.suppress(av.FFmpegError, ValueError):
        silence = av.AudioFrame(format=frame.format.name, layout=frame.layout.name, samples=16)
        silence.sample_rate = frame.sample_rate
        _to_mono().resample(silence)
        return True
    return False


def _mono_frame(samples: np.ndarray, sample_rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = sample_rate_hz
    return frame


def _format_of(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name
