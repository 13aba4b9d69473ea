"""Unlabeled recordings: a random 3-s segment of each, and what the teachers say of just these three seconds.

A row of the labels table, up to 16 s of a recording, counts as a recording here. A teacher's target is the mean of its
softmaxes over the windows whose middle lies in the segment (the paper, section 3, has windows of 0.5 s); of the video
teacher only those that show the face. The same code makes segments whether the table is held in memory or streamed.
"""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from liser_ray.corpora.ordered import in_order
from liser_ray.labeling.schema import flat_windows
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.flac import decode_flac
from liser_ray.student.config import OF_RECORDING, Normalisation
from liser_ray.student.data.labels_table import LabelsTable, RowGroup, TeacherColumn, read_rows
from liser_ray.student.data.mels import (
    LogMels,
    SegmentCutter,
    compute_log_mels,
    padded_frames,
    segment_starts,
    spectrogram,
    to_float,
)
from liser_ray.student.data.order import lap_rows
from liser_ray.student.features import LogMel, fit_length, pad_edges, segment_samples
from liser_ray.student.front_end import SEGMENT_FRAMES, SEGMENT_S, STRIDE_SAMPLES

# Times in 1/48,000 s, in which frames and both teachers' windows are whole numbers.
_UNIT_HZ = 48_000
_FRAME = 3 * STRIDE_SAMPLES
_SEGMENT = round(SEGMENT_S * _UNIT_HZ)
SPEECH_WINDOW = _UNIT_HZ // 2
VIDEO_WINDOW = 16 * _UNIT_HZ // 30

COLUMNS = ["audio", "video_probs", "video_valid", "speech_probs"]
"""Of the labels table, that segments are made of."""

_BATCH_ROWS = 64
_READERS = 4


@dataclass(frozen=True)
class SegmentSettings:
    """How segments are made.

    Attributes:
        labels: of the student, in the order of its outputs.
        normalisation: of the spectrograms, see `compute_log_mels`.
        min_video_valid: share of a window's frames that must show the face for it to count, 0..1.
    """

    labels: tuple[str, ...]
    normalisation: Normalisation = "none"
    min_video_valid: float = 0.5


class Segments(NamedTuple):
    """Segments of unlabeled recordings, with the teachers' targets.

    Attributes:
        log_mel: float32 [n, 64, 94].
        speech: mean softmax of the speech teacher, in the order of the student's labels, float32 [n, K_S].
        video: mean softmax of the video teacher, float32 [n, K_V]; zeros where there is none.
        video_valid: bool [n], whether any window of the segment shows the face.
    """

    log_mel: Tensor
    speech: Tensor
    video: Tensor
    video_valid: Tensor


@dataclass(frozen=True, eq=False)
class WindowProbs:
    """A teacher's softmaxes for the windows of N recordings, one after the other.

    Attributes:
        probs: float32 [W, K].
        counted: bool [W], False for windows to be passed over.
        ends: int64 [N], where the windows of each recording end.
        window: length and distance of the windows, in 1/48,000 s.
    """

    probs: np.ndarray
    counted: np.ndarray
    ends: np.ndarray
    window: int

    def means(self, rows: np.ndarray, first_frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean softmax over each segment's windows, float32 [n, K], and whether there are any, bool [n].

        Segments begin at ``first_frames``, int64 [n], of the recordings ``rows``, int64 [n].
        """
        start = (first_frames * _FRAME)[:, None]
        # The first window whose middle does not lie before the segment.
        number = -((self.window // 2 - start) // self.window) + np.arange(1 + _SEGMENT // self.window)
        before = np.where(rows > 0, self.ends[rows - 1], 0)[:, None]
        inside = (number * self.window + self.window // 2 < start + _SEGMENT) & (
            before + number < self.ends[rows][:, None]
        )
        at = np.where(inside, before + number, 0)
        inside &= self.counted[at]
        total = (self.probs[at] * inside[:, :, None]).sum(axis=1)
        n_windows = inside.sum(axis=1, keepdims=True)
        return (total / np.maximum(n_windows, 1)).astype(np.float32), n_windows[:, 0] > 0


class TeacherWindows(NamedTuple):
    """What both teachers say of N recordings."""

    speech: WindowProbs
    video: WindowProbs

    def targets(self, rows: np.ndarray, first_frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets of segments, see `Segments`: speech, video, video_valid."""
        speech, _ = self.speech.means(rows, first_frames)
        return speech, *self.video.means(rows, first_frames)


def teacher_windows(rows: pa.Table, teacher: TeacherColumn, settings: SegmentSettings) -> TeacherWindows:
    """What the teachers say of rows of the labels table, ``teacher`` of their sound."""
    speech, n_speech = flat_windows(rows["speech_probs"].combine_chunks().field(teacher.name))
    video, n_video = flat_windows(rows["video_probs"].combine_chunks())
    valid = rows["video_valid"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    speech = speech[:, [teacher.labels.index(label) for label in settings.labels]]
    counted = (valid >= settings.min_video_valid) & (valid > 0)
    return TeacherWindows(
        WindowProbs(speech, np.ones(len(speech), bool), np.cumsum(n_speech), SPEECH_WINDOW),
        WindowProbs(video, counted, np.cumsum(n_video), VIDEO_WINDOW),
    )


@dataclass(frozen=True, eq=False)
class UnlabeledRecordings:
    """A labels table in memory: arrays, which processes can share through Ray's object store without copies.

    Attributes:
        mels: spectrograms of the N labeled rows, in the table's order.
        group_sizes: int64 [G], rows of each row group.
        windows: what the teachers say of them, by the name of the speech teacher.
    """

    mels: LogMels
    group_sizes: np.ndarray
    windows: dict[str, TeacherWindows]


def load_unlabeled(
    table: LabelsTable,
    teachers: Collection[TeacherColumn],
    settings: SegmentSettings,
    device: torch.device,
    report: Callable[[int], None],
) -> UnlabeledRecordings:
    """Read a table whole, with the softmaxes of these speech teachers.

    The spectrograms are computed on ``device``; ``report`` gets now and then how many rows are done.
    """
    read: list[pa.Table] = []

    def waveforms() -> Iterator[np.ndarray]:
        for rows, sound in _groups_in_order(table):
            yield from sound
            read.append(rows)
            report(sum(map(len, read)))

    max_frames = int(table.seconds * SAMPLE_RATE_HZ / STRIDE_SAMPLES) + table.n_rows * (1 + SEGMENT_FRAMES)
    mels = compute_log_mels(waveforms(), max_frames, settings.normalisation, device)
    rows = pa.concat_tables(read)
    windows = {teacher.name: teacher_windows(rows, teacher, settings) for teacher in teachers}
    return UnlabeledRecordings(mels, table.group_sizes, windows)


def _groups_in_order(table: LabelsTable) -> Iterator[tuple[pa.Table, list[np.ndarray]]]:
    """The rows of each group without their sound, and the sound, int16 [n] each; read and decoded ahead in threads."""

    def read(group: RowGroup) -> tuple[pa.Table, list[np.ndarray]]:
        rows = pa.concat_tables(read_rows(table, group, COLUMNS, _BATCH_ROWS))
        return rows.drop_columns("audio"), [decode_flac(one.as_py()) for one in rows["audio"]]

    with ThreadPoolExecutor(_READERS) as threads:
        for _, future in in_order(lambda group: threads.submit(read, group), table.groups, 2 * _READERS):
            yield future.result()


class HeldSegments:
    """Endless segments of recordings in memory on a device, in the order of the seed: one lap after the other.

    ``teacher`` is the name of the speech teacher, and ``start`` how many rows were taken before.
    """

    def __init__(self, recordings: UnlabeledRecordings, teacher: str, seed: int, start: int, device: torch.device):
        self._mels = recordings.mels
        self._windows = recordings.windows[teacher]
        self._sizes = recordings.group_sizes
        self._cut = SegmentCutter(recordings.mels, device)
        self._seed, self._device = seed, device
        self._lap, self._at = divmod(start, len(recordings.mels))
        self._rows, self._places = lap_rows(self._sizes, seed, self._lap)

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next ``n`` segments, or of these only a ``share``."""
        rows, places = self._next(n)
        return self.cut(rows[share], places[share])

    def cut(self, rows: np.ndarray, places: np.ndarray) -> Segments:
        """Segments at these places (float [n], 0..1) of these rows (int64 [n])."""
        first_frames = self._mels.first_frames(rows, places)
        targets = (torch.from_numpy(one).to(self._device) for one in self._windows.targets(rows, first_frames))
        return Segments(self._cut(rows, first_frames), *targets)

    def _next(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        rows, places = self._rows[self._at : self._at + n], self._places[self._at : self._at + n]
        self._at += n
        while len(rows) < n:
            self._lap, self._at = self._lap + 1, n - len(rows)
            self._rows, self._places = lap_rows(self._sizes, self._seed, self._lap)
            rows, places = np.append(rows, self._rows[: self._at]), np.append(places, self._places[: self._at])
        return rows, places


def segments_of_rows(
    rows: pa.Table,
    places: np.ndarray,
    teacher: TeacherColumn,
    settings: SegmentSettings,
    log_mel: LogMel,
) -> Segments:
    """Segments of a few labeled rows on a CPU, without spectrograms of the rest where that can be.

    ``places``, float [n], 0..1, are where each segment lies, and ``teacher`` whose softmaxes are wanted.
    """
    waveforms = [decode_flac(one.as_py()) for one in rows["audio"]]
    n_frames = padded_frames(np.array([len(one) for one in waveforms]))
    first_frames = segment_starts(n_frames, places)
    cpu = torch.device("cpu")
    with torch.inference_mode():
        if settings.normalisation in OF_RECORDING:  # which is over the whole recording
            whole = [spectrogram(one, log_mel, settings.normalisation, cpu) for one in waveforms]
            log_mels = torch.stack(
                [one[:, k : k + SEGMENT_FRAMES] for one, k in zip(whole, first_frames.tolist(), strict=True)]
            )
        else:
            padded = [pad_edges(fit_length(to_float(one, cpu))[None])[0] for one in waveforms]
            log_mels = log_mel.of_padded(
                torch.stack([segment_samples(one, k) for one, k in zip(padded, first_frames.tolist(), strict=True)])
            )
    targets = teacher_windows(rows, teacher, settings).targets(np.arange(len(rows)), first_frames)
    return Segments(log_mels, *map(torch.from_numpy, targets))
