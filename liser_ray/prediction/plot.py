"""A picture of what was heard and what was said of it: waveform, log-Mel spectrogram, emotions over time."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from liser_ray.prediction.backend import Backend
from liser_ray.prediction.prediction import Prediction
from liser_ray.prediction.stream import Estimate
from liser_ray.results.style import BLUE, COLOURS, LINES, make_figure, put_legend_beside, to_png
from liser_ray.student.front_end import (
    N_BANDS,
    SAMPLE_RATE_HZ,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    STRIDE_SAMPLES,
    frame_count,
    mel_corners_hz,
)

MAX_COLUMNS = 4000
"""Kept at least, and up to twice as many: more than a picture has points."""

_TICKS_HZ = (250, 500, 1000, 2000, 4000)
_REACH_SAMPLES = 128  # of the finest column of the waveform
_FEW_WINDOWS = 30
_PIECE_SAMPLES = SEGMENT_FRAMES * STRIDE_SAMPLES  # to where the frame after those of a window is


class Columns:
    """A table [rows, c] of columns in order; whenever there are 8,000, each two become one.

    Args:
        n_rows: of the table.
        merge: [rows, c, k] to [rows, c], what k neighbours become.
        n_each: of what is added, in one column at first; what is less than a column waits.
    """

    def __init__(self, n_rows: int, merge: Callable[[np.ndarray], np.ndarray], n_each: int = 1):
        self._merge = merge
        self.table = self._rest = np.zeros((n_rows, 0), np.float32)
        self.n_each = n_each

    def add(self, columns: np.ndarray) -> None:
        """The next ones, [rows, n]."""
        waiting = np.concatenate([self._rest, columns], axis=1)
        whole, self._rest = np.split(waiting, [waiting.shape[1] // self.n_each * self.n_each], axis=1)
        self.table = np.concatenate([self.table, self._merged(whole, self.n_each)], axis=1)
        if self.table.shape[1] >= 2 * MAX_COLUMNS:
            paired, odd_out = np.split(self.table, [self.table.shape[1] // 2 * 2], axis=1)
            # An odd one out goes back to what waits, as often as it stands for.
            self._rest = np.concatenate([odd_out.repeat(self.n_each, axis=1), self._rest], axis=1)
            self.table = self._merged(paired, 2)
            self.n_each *= 2

    def _merged(self, columns: np.ndarray, n_each: int) -> np.ndarray:
        return self._merge(columns.reshape(len(columns), -1, n_each))


class Overview:
    """What a picture shows of a recording of any length, collected as the sound goes by, in bounded memory.

    The spectrogram is that of 3-s windows side by side, so that two frames at each of their ends see mirrored sound.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._log_mel = Columns(N_BANDS, lambda columns: columns.mean(axis=-1))
        self._reach = Columns(
            2, lambda columns: np.stack([columns[0].min(axis=-1), columns[1].max(axis=-1)]), _REACH_SAMPLES
        )
        self._piece = np.zeros(0, np.float32)

    def add(self, samples: np.ndarray) -> None:
        """The next sound, float32 [n], 16 kHz."""
        self._piece = np.concatenate([self._piece, samples])
        while len(self._piece) >= _PIECE_SAMPLES:
            self._log_mel.add(self._backend.log_mel(self._piece[:SEGMENT_SAMPLES]).T)
            self._piece = self._piece[_PIECE_SAMPLES:]
        self._reach.add(np.stack([samples, samples]))

    def log_mel(self) -> tuple[np.ndarray, float]:
        """The spectrogram float32 [64, c], and the seconds from column to column; called once, at the end."""
        if len(self._piece):
            n_frames = frame_count(len(self._piece))
            self._log_mel.add(self._backend.log_mel(self._piece[:SEGMENT_SAMPLES]).T[:, :n_frames])
        return self._log_mel.table, self._log_mel.n_each * STRIDE_SAMPLES / SAMPLE_RATE_HZ

    def reach(self) -> tuple[np.ndarray, float]:
        """Lowest and highest sample, float32 [2, c], and the seconds from column to column."""
        return self._reach.table, self._reach.n_each / SAMPLE_RATE_HZ


def prediction_plot(overview: Overview, prediction: Prediction, title: str) -> bytes:
    """Waveform, log-Mel spectrogram and the labels' probabilities over the same seconds, as the bytes of a PNG."""
    figure, (sound, picture, curves) = make_figure(10, 7, 3, sharex=True, height_ratios=(1, 1.6, 1.8))
    title = title.encode(errors="surrogateescape").decode(errors="backslashreplace")  # of files named in other codes
    figure.suptitle(f"{title}: {prediction.label} {prediction.probability:.2f}", fontsize=12, parse_math=False)

    (low, high), column_s = overview.reach()
    sound.fill_between(np.arange(len(low)) * column_s, low, high, color=BLUE, linewidth=0.3)
    sound.set_ylabel("waveform")
    loudest = max(0.01, float(np.abs([low.min(), high.max()]).max()))
    sound.set_ylim(-1.05 * loudest, 1.05 * loudest)
    sound.grid(visible=False)

    log_mel, column_s = overview.log_mel()
    end_s = log_mel.shape[1] * column_s
    picture.imshow(log_mel, origin="lower", aspect="auto", cmap="magma", extent=(0, end_s, 0, N_BANDS))
    centres_hz = mel_corners_hz()[1:-1]
    picture.set_yticks(np.interp(_TICKS_HZ, centres_hz, np.arange(N_BANDS) + 0.5), [f"{hz:,}" for hz in _TICKS_HZ])
    picture.set_ylabel("log-Mel, Hz")
    picture.grid(visible=False)

    middle_s = (prediction.window_start_s + prediction.window_end_s) / 2 - prediction.start_s  # as the sound above
    _draw_curves(curves, prediction.labels, middle_s, prediction.window_probabilities)
    curves.set_xlim(0, max(prediction.duration_s, end_s))
    curves.set_xlabel("middle of the 3-s window, seconds")
    return to_png(figure)


def listening_plot(labels: Sequence[str], estimates: Sequence[Estimate], reach_s: float) -> bytes:
    """Probabilities of the last ``reach_s`` seconds of a stream, of one estimate or more, as the bytes of a PNG."""
    figure, curves = make_figure(10, 3.4)
    figure.suptitle(f"{estimates[-1].label} {estimates[-1].probabilities.max():.2f}", fontsize=12)
    ends_s = np.array([one.end_s for one in estimates])
    probabilities = np.array([one.probabilities for one in estimates])
    _draw_curves(curves, labels, ends_s, probabilities)
    end_s = max(reach_s, ends_s[-1])
    curves.set_xlim(end_s - reach_s, end_s)
    curves.set_xlabel("end of the 3-s window, seconds")
    return to_png(figure)


def _draw_curves(axes: Axes, labels: Sequence[str], seconds: np.ndarray, probabilities: np.ndarray) -> None:
    """Probabilities [n, K] over their seconds [n]."""
    for i, label in enumerate(labels):
        colour, style = COLOURS[i % len(COLOURS)], LINES[i % len(LINES)]
        marker = "o" if len(seconds) < _FEW_WINDOWS else None
        axes.plot(seconds, probabilities[:, i], style, color=colour, label=label, marker=marker, markersize=3)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    put_legend_beside(axes)
