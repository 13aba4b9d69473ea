"""Unlabeled recordings: a random 3-s segment of each, and what the teachers say of just these three seconds.

A row of the labels table, up to 16 s of a recording, counts as a recording here. A segment's target is the mean of a
teacher's values over the windows whose middle lies in it (the paper, section 3, has windows of 0.5 s); of these only
such as show the face, or are speech. The same code makes segments whether the table is held in memory or streamed.

Whether a scalar is high or low is decided window by window (`liser_ray.student.data.high_low`). With W the segment's
windows that are one of both, and t_w 1 for a high and 0 for a low one, its target is the share that is high,
t = 1/|W| · Σ_{w ∈ W} t_w,  0..1; there is none where all lie in the middle.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from liser_ray.corpora.ordered import in_order
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.flac import decode_flac
from liser_ray.student.config import UTTERANCE, Normalisation
from liser_ray.student.data.high_low import Split
from liser_ray.student.data.labels_table import LabelsTable, RowGroup, Scale, read_rows, windows_of
from liser_ray.student.data.mels import (
    LogMels,
    SegmentCutter,
    compute_log_mels,
    padded_frames,
    segment_starts,
    spectrogram,
    to_float,
)
from liser_ray.student.data.order import lap_rows, placebo_rows
from liser_ray.student.features import LogMel, pad_edges, segment_samples
from liser_ray.student.front_end import SEGMENT_FRAMES, SEGMENT_S, STRIDE_SAMPLES
from liser_ray.student.losses import SegmentTarget
from liser_ray.teachers.targets import Target

UNIT_HZ = 48_000
"""Times are in 1/48,000 s, in which frames, windows of half a second and of 16 pictures (30 Hz) are whole numbers."""
_FRAME = 3 * STRIDE_SAMPLES

_BATCH_ROWS = 64
_READERS = 4


@dataclass(frozen=True)
class SegmentSettings:
    """How segments are made.

    Attributes:
        labels: of the student, in the order of its outputs.
        normalisation: of the spectrograms, see `compute_log_mels`.
        min_valid: a window counts if so much of it shows the face or is speech, 0..1, and some of it does.
        scales: of the table's scalars, by name.
        splits: likewise, of those of which is asked whether they are high or low.
    """

    labels: tuple[str, ...]
    normalisation: Normalisation = "none"
    min_valid: float = 0.5
    scales: Mapping[str, Scale] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)


class Segments(NamedTuple):
    """Segments of unlabeled recordings, with the teachers' targets.

    Attributes:
        log_mel: float32 [n, 64, 94].
        targets: by the names that the student has for them: means over the windows, float32 [n, K], in the order of the
            student's labels where a target has these; zeros where there is none.
        rows: of the table in memory that they are of, int64 [n]; None: of a streamed one.
    """

    log_mel: Tensor
    targets: dict[str, SegmentTarget]
    rows: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TargetWindows:
    """A target's values for the windows of N recordings, one after the other.

    Attributes:
        values: float32 [W, K]; of embeddings they may be float16.
        counted: bool [W], False for windows to be passed over.
        ends: int64 [N], where the windows of each recording end.
        window, hop: length of the windows and from one to the next, in 1/48,000 s; with window 0 there is one, of the
            whole recording, for all its segments.
    """

    values: np.ndarray
    counted: np.ndarray
    ends: np.ndarray
    window: int
    hop: int

    def means(
        self,
        rows: np.ndarray,
        first_frames: np.ndarray,
        speeds: np.ndarray | float = 1.0,
        seconds: np.ndarray | float = SEGMENT_S,
    ) -> SegmentTarget:
        """Mean over each segment's windows: those whose middle lies in it.

        Segments begin at ``first_frames``, int64 [n], of the recordings ``rows``, int64 [n], as they are heard at
        ``speeds``, float [n]: at twice the speed a segment is 6 s of what the teacher has heard. They are of so many
        ``seconds``, float [n].
        """
        if not len(self.values):
            return SegmentTarget(torch.zeros(len(rows), self.values.shape[1]), torch.zeros(len(rows), dtype=torch.bool))
        before, ends = np.where(rows > 0, self.ends[rows - 1], 0)[:, None], self.ends[rows][:, None]
        if self.window:
            start, middle = np.rint(first_frames * _FRAME * speeds).astype(np.int64)[:, None], self.window // 2
            length = np.rint(UNIT_HZ * seconds * np.broadcast_to(speeds, len(rows))).astype(np.int64)[:, None]
            # The first window whose middle does not lie before the segment.
            number = -((middle - start) // self.hop) + np.arange(1 + length.max(initial=0) // self.hop)
            inside = (number >= 0) & (number * self.hop + middle < start + length) & (before + number < ends)
        else:
            number = np.zeros((len(rows), 1), np.int64)
            inside = before < ends
        at = np.where(inside, before + number, 0)
        inside &= self.counted[at]
        values = self.values[at].astype(np.result_type(self.values, np.float32), copy=False)  # no sums of float16
        total = (values * inside[:, :, None]).sum(axis=1)
        n_windows = inside.sum(axis=1, keepdims=True)
        means = (total / np.maximum(n_windows, 1)).astype(np.float32)
        return SegmentTarget(torch.from_numpy(means), torch.from_numpy(n_windows[:, 0] > 0))


def no_windows(n_recordings: int, n_values: int) -> TargetWindows:
    """Of a teacher that says nothing of N recordings."""
    values = np.zeros((0, n_values), np.float32)
    return TargetWindows(values, np.zeros(0, bool), np.zeros(n_recordings, np.int64), 0, 0)


def target_windows(rows: pa.Table, target: Target, settings: SegmentSettings) -> TargetWindows:
    """What a target has of rows of the labels table, as the student learns it.

    Scalars have mean 0 and deviation 1, or are 1 where they are high and 0 where they are low.
    """
    values, n_windows, valid = windows_of(rows, *target.path)
    least = settings.min_valid if target.window_s else 0.0  # of a whole span, silence or not, there is one window alone
    counted = (valid >= least) & (valid > 0)
    if target.name in settings.splits:
        values, is_either = settings.splits[target.name](rows, n_windows, values)
        counted &= is_either
    elif target.kind == "scalar":
        mean, std = settings.scales[target.name]
        values = ((values - mean) / std).astype(np.float32)
    elif target.kind == "distribution" and set(target.labels) == set(settings.labels):
        values = values[:, [target.labels.index(label) for label in settings.labels]]
    window, hop = (round(seconds * UNIT_HZ) for seconds in (target.window_s, target.hop_s))
    return TargetWindows(values, counted, np.cumsum(n_windows), window, hop)


@dataclass(frozen=True, eq=False)
class UnlabeledRecordings:
    """A labels table in memory: arrays, which processes can share through Ray's object store without copies.

    Attributes:
        mels: spectrograms of the N labeled rows, in the table's order.
        group_sizes: int64 [G], rows of each row group.
        windows: what the teachers say of them, by the target's name in the table.
    """

    mels: LogMels
    group_sizes: np.ndarray
    windows: dict[str, TargetWindows]


def load_unlabeled(
    table: LabelsTable,
    targets: Collection[Target],
    settings: SegmentSettings,
    device: torch.device,
    report: Callable[[int], None],
) -> UnlabeledRecordings:
    """Read a table whole, with these targets of it.

    The spectrograms are computed on ``device``; ``report`` gets now and then how many rows are done.
    """
    read: list[pa.Table] = []

    def waveforms() -> Iterator[np.ndarray]:
        for rows, sound in groups_in_order(table, columns_of(targets, settings)):
            yield from sound
            read.append(rows)
            report(sum(map(len, read)))

    max_frames = int(table.seconds * SAMPLE_RATE_HZ / STRIDE_SAMPLES) + table.n_rows * (1 + SEGMENT_FRAMES)
    mels = compute_log_mels(waveforms(), max_frames, settings.normalisation, device)
    rows = pa.concat_tables(read)
    windows = {target.name: target_windows(rows, target, settings) for target in targets}
    return UnlabeledRecordings(mels, table.group_sizes, windows)


def columns_of(targets: Collection[Target], settings: SegmentSettings) -> list[str]:
    """Columns of the labels table that segments are made of."""
    return ["audio", *target_columns(targets, settings)]


def target_columns(targets: Collection[Target], settings: SegmentSettings) -> list[str]:
    """Columns of the labels table that have what the teachers say, and those that say of whom where that counts."""
    paths = [target.path for target in targets]
    found = [f"targets.{column}.{part}" for column, field in paths for part in (field, "valid")]
    splits = [settings.splits[target.name] for target in targets if target.name in settings.splits]
    return list(dict.fromkeys([*found, *(column for split in splits for column in split.columns)]))


def groups_in_order(table: LabelsTable, columns: list[str]) -> Iterator[tuple[pa.Table, list[np.ndarray]]]:
    """The rows of each group without their sound, and the sound, int16 [n] each; read and decoded ahead in threads."""

    def read(group: RowGroup) -> tuple[pa.Table, list[np.ndarray]]:
        rows = pa.concat_tables(read_rows(table, group, columns, _BATCH_ROWS))
        return rows.drop_columns("audio"), [decode_flac(one.as_py()) for one in rows["audio"]]

    with ThreadPoolExecutor(_READERS) as threads:
        for _, future in in_order(lambda group: threads.submit(read, group), table.groups, 2 * _READERS):
            yield future.result()


class HeldSegments:
    """Endless segments of recordings in memory on a device, in the order of the seed: one lap after the other.

    Args:
        recordings: in memory.
        targets: to take of each, by the names that the student has for them.
        seed: of order and crops.
        start: how many rows were taken before.
        device: of the segments.
        placebo: give each recording the targets of another one, the same other one at all times.
        kept: int64 [n], ascending, the recordings to take; None: all.
    """

    def __init__(
        self,
        recordings: UnlabeledRecordings,
        targets: Mapping[str, Target],
        seed: int,
        start: int,
        device: torch.device,
        placebo: bool = False,
        kept: np.ndarray | None = None,
    ):
        self._mels = recordings.mels
        self.kept = np.arange(len(self._mels)) if kept is None else kept
        self._windows = {name: recordings.windows[target.name] for name, target in targets.items()}
        self._told_of = np.arange(len(self._mels))
        if placebo:
            self._told_of[self.kept] = self.kept[placebo_rows(len(self.kept), seed)]
        group_ends = np.cumsum(recordings.group_sizes)
        self._sizes = np.diff(np.searchsorted(self.kept, group_ends), prepend=0)
        self._cut = SegmentCutter(recordings.mels, device)
        self._seed, self._device = seed, device
        self._lap, self._at = divmod(start, len(self.kept))
        self._rows, self._places = self._of_lap()

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next ``n`` segments, or of these only a ``share``."""
        rows, places = self._next(n)
        return self.cut(rows[share], places[share])

    def cut(self, rows: np.ndarray, places: np.ndarray) -> Segments:
        """Segments at these places (float [n], 0..1) of these rows (int64 [n])."""
        told_of = self._told_of[rows]
        at = self._mels.first_frames(told_of, places)
        found = {name: windows.means(told_of, at) for name, windows in self._windows.items()}
        targets = {name: SegmentTarget(*(one.to(self._device) for one in target)) for name, target in found.items()}
        return Segments(self._cut(rows, self._mels.first_frames(rows, places)), targets, rows)

    def _next(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        rows, places = self._rows[self._at : self._at + n], self._places[self._at : self._at + n]
        self._at += n
        while len(rows) < n:
            self._lap, self._at = self._lap + 1, n - len(rows)
            self._rows, self._places = self._of_lap()
            rows, places = np.append(rows, self._rows[: self._at]), np.append(places, self._places[: self._at])
        return rows, places

    def _of_lap(self) -> tuple[np.ndarray, np.ndarray]:
        rows, places = lap_rows(self._sizes, self._seed, self._lap)
        return self.kept[rows], places


def segments_of_rows(
    rows: pa.Table,
    places: np.ndarray,
    targets: Mapping[str, Target],
    settings: SegmentSettings,
    log_mel: LogMel,
) -> Segments:
    """Segments of a few labeled rows on a CPU, without spectrograms of the rest where that can be.

    ``places``, float [n], 0..1, are where each segment lies; the targets are by the student's names for them.
    """
    waveforms = [decode_flac(one.as_py()) for one in rows["audio"]]
    n_frames = padded_frames(np.array([len(one) for one in waveforms]))
    first_frames = segment_starts(n_frames, places)
    cpu = torch.device("cpu")
    with torch.inference_mode():
        if settings.normalisation in UTTERANCE:  # which is over the whole recording
            whole = [spectrogram(one, log_mel, settings.normalisation, cpu) for one in waveforms]
            log_mels = torch.stack(
                [one[:, k : k + SEGMENT_FRAMES] for one, k in zip(whole, first_frames.tolist(), strict=True)]
            )
        else:
            padded = [pad_edges(log_mel.fit_length(to_float(one, cpu))[None])[0] for one in waveforms]
            log_mels = log_mel.of_padded(
                torch.stack([segment_samples(one, k) for one, k in zip(padded, first_frames.tolist(), strict=True)])
            )
    found = {
        name: target_windows(rows, target, settings).means(np.arange(len(rows)), first_frames)
        for name, target in targets.items()
    }
    return Segments(log_mels, found)
