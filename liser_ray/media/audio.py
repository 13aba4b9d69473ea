"""Decoded sound, in whatever rates and layouts it comes, put on one 16-kHz mono time line."""

import av
import numpy as np

SAMPLE_RATE_HZ = 16_000

MAX_DRIFT_S = 0.06
"""Time stamps further than this from the count of samples start a new run; less is jitter and is ignored."""

_WARM_UP_S = 0.1  # sound before the span that still goes through the resampler, far longer than its filter


class PcmAssembler:
    """Collects the decoded sound of a span.

    Sound is resampled in runs without a gap or a change of format; each run lies where its first time stamp says.
    Gaps are zeros; where time stamps jump back, the later sound wins.
    """

    def __init__(self, n_samples: int):
        self._pcm = np.zeros(n_samples, np.int16)
        self._duration_s = n_samples / SAMPLE_RATE_HZ
        self._run: _Run | None = None
        self.until_s: float | None = None  # end of the last sound that lies in the span, from the span's start

    def add(self, frame: av.AudioFrame, time_s: float | None) -> None:
        """Add a decoded frame that starts at a time from the span's start; None: right after the one before."""
        if frame.samples == 0 or frame.sample_rate <= 0:
            return
        if time_s is None:
            time_s = self._run.end_s if self._run else 0.0
        end_s = time_s + frame.samples / frame.sample_rate
        if end_s < -_WARM_UP_S or time_s > self._duration_s + _WARM_UP_S:
            return
        if self._run is None or not self._run.continues(frame, time_s):
            self._close_run()
            self._run = _Run(frame, time_s)
        self._run.add(frame)
        if end_s > 0 and time_s < self._duration_s:
            self.until_s = max(self.until_s or 0.0, min(end_s, self._duration_s))

    def finish(self) -> np.ndarray:
        """The span's sound, int16 [n_samples]."""
        self._close_run()
        return self._pcm

    def _close_run(self) -> None:
        if self._run is None:
            return
        samples = self._run.samples()
        start = round(self._run.start_s * SAMPLE_RATE_HZ)
        source = samples[max(0, -start) : max(0, len(self._pcm) - start)]
        self._pcm[max(0, start) : max(0, start) + len(source)] = source
        self._run = None


class _Run:
    """Sound of one format without gaps."""

    def __init__(self, first: av.AudioFrame, start_s: float):
        self.start_s = start_s
        self._format = _format_of(first)
        self._rate_hz = first.sample_rate
        self._n_in = 0
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
        self._out: list[np.ndarray] = []

    @property
    def end_s(self) -> float:
        return self.start_s + self._n_in / self._rate_hz

    def continues(self, frame: av.AudioFrame, time_s: float) -> bool:
        return _format_of(frame) == self._format and abs(time_s - self.end_s) <= MAX_DRIFT_S

    def add(self, frame: av.AudioFrame) -> None:
        self._n_in += frame.samples
        frame.pts = None  # the resampler counts samples; jitter in the time stamps is not its concern
        self._collect(frame)

    def samples(self) -> np.ndarray:
        self._collect(None)
        return np.concatenate(self._out) if self._out else np.zeros(0, np.int16)

    def _collect(self, frame: av.AudioFrame | None) -> None:
        # A resampler with nothing to do hands the None that ends the stream back.
        self._out += [out.to_ndarray().reshape(-1) for out in self._resampler.resample(frame) if out is not None]


def _format_of(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name
