"""Decoded sound, in whatever rates and layouts it comes, as 16-kHz mono; and where in a span its samples lie."""

import av
import numpy as np

SAMPLE_RATE_HZ = 16_000

MAX_DRIFT_S = 0.06
"""Time stamps further than this from the count of samples start a new run; less is jitter and is ignored."""

_WARM_UP_S = 0.1  # sound before the span that still goes through the resampler, far longer than its filter


class Resampler:
    """Decoded sound of one format without gaps, at 16 kHz mono."""

    def __init__(self, first: av.AudioFrame):
        self.duration_s = 0.0  # of what it was given
        self._format = _format_of(first)
        self._n_in = 0
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether a frame has the format of the first one."""
        return _format_of(frame) == self._format

    def add(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """What comes out when a frame goes in; int16 [n] each, n > 0."""
        self._n_in += frame.samples
        self.duration_s = self._n_in / frame.sample_rate
        frame.pts = None  # the resampler counts samples; jitter in the time stamps is not its concern
        return self._through(frame)

    def finish(self) -> list[np.ndarray]:
        """What the resampler still holds."""
        return self._through(None)

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
        self._run, self._run_samples = None, []


def _format_of(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name
