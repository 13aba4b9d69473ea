"""All that the page says of a table's rows, from one pass over them in constant memory.

The sound is never read. Rows come as Arrow batches and are counted by whole columns.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from liser_ray.corpora.ordered import in_order
from liser_ray.labeling.page.histogram import Histogram
from liser_ray.labeling.resume import OutputFolders, whole_label_files
from liser_ray.labeling.schema import flat_windows
from liser_ray.media.outcome import Status
from liser_ray.storage.files import filesystem

N_EXAMPLES = 3
"""Rows kept for each outcome."""

_COLUMNS = (
    *("span_id", "uri", "start_s", "end_s", "status", "stage", "reason", "detail"),
    *("speech_fraction", "video_probs", "video_valid", "speech_probs", "face_box"),
)
_FACE_COLUMNS = ["span_id", "uri", "start_s", "video_valid", "face_box"]
_BATCH_ROWS = 4096
_READERS = 4  # threads: they wait for the store
_FILES_AHEAD = 8  # a file of the default 768 rows takes a few megabytes without its sound
_BINS = 40
_NO_LABEL = -1


class Outcome(NamedTuple):
    """How a span ended; stage and reason are "" where it is labeled."""

    status: str
    stage: str
    reason: str


class Example(NamedTuple):
    """A row that is not labeled: where it is and what its detail says."""

    uri: str
    start_s: float
    detail: str


@dataclass
class OutcomeCount:
    """Rows of one outcome.

    Attributes:
        spans: rows.
        seconds: of video in them.
        no_length: rows of recordings whose length is not known, which count 0 seconds.
        examples: the first `N_EXAMPLES` rows, if they are not labeled.
    """

    spans: int = 0
    seconds: float = 0.0
    no_length: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass
class TeacherCounts:
    """What one teacher says.

    Attributes:
        labels: K names in the order of its softmax.
        spans: labeled spans by the label with the largest mean softmax, int64 [K].
        confidence: largest probability of each window, 1/K to 1.
        entropy_bits: entropy of each window's softmax, 0 to log2 K bits.
    """

    labels: tuple[str, ...]
    spans: np.ndarray = field(init=False)
    confidence: Histogram = field(init=False)
    entropy_bits: Histogram = field(init=False)

    def __post_init__(self) -> None:
        n_labels = len(self.labels)
        self.spans = np.zeros(n_labels, np.int64)
        self.confidence = Histogram(np.linspace(1 / n_labels, 1, _BINS + 1))
        self.entropy_bits = Histogram(np.linspace(0, np.log2(max(2, n_labels)), _BINS + 1))

    def add(self, column: pa.ListArray) -> np.ndarray:
        """Count the softmaxes of labeled spans; a window of zeros has none.

        Args:
            column: N rows of a softmax per window.

        Returns:
            Index of each span's label, int64 [N]; -1 where no window has a softmax.
        """
        probs, lengths = flat_windows(column)
        said = np.full(len(lengths), _NO_LABEL)
        some = np.flatnonzero(lengths)
        if len(some) == 0:
            return said
        sums = np.add.reduceat(probs, (np.cumsum(lengths) - lengths)[some], axis=0, dtype=np.float64)
        said[some] = np.where(sums.any(axis=1), sums.argmax(axis=1), _NO_LABEL)
        self.spans += np.bincount(said[said != _NO_LABEL], minlength=len(self.labels))
        largest, entropy = probs[:, 0].copy(), np.zeros(len(probs), np.float32)
        for of_label in probs.T:  # K passes over columns are several times faster than reductions of K values each
            np.maximum(largest, of_label, out=largest)
            entropy -= of_label * np.log2(np.maximum(of_label, np.float32(1e-30)))
        answered = largest > 0
        self.confidence.add(largest[answered])
        self.entropy_bits.add(entropy[answered])
        return said


@dataclass
class TableStatistics:
    """Counts over a labels table.

    Attributes:
        video: what the video teacher says.
        speech: what each speech teacher says, by its name.
        together: labeled spans by the video teacher's label and the speech teacher's, int64 [K_V, K_S], by the latter's
            name.
        n_faces: how many rows to keep for the contact sheet.
        faces: the labeled rows with the smallest ids, which are hashes: a sample that does not depend on the order.
        outcomes: how the rows ended.
        speech_fraction: share of each labeled span that is speech.
        video_valid: share of frames with the face, of each window of labeled spans.
        face_size: of the face's box, as share of the frame's area, in each of these windows that is valid.
    """

    video: TeacherCounts
    speech: dict[str, TeacherCounts]
    together: dict[str, np.ndarray] = field(init=False)
    n_faces: int = 0
    faces: pa.Table | None = None
    outcomes: dict[Outcome, OutcomeCount] = field(default_factory=dict)
    speech_fraction: Histogram = field(default_factory=lambda: Histogram(np.linspace(0, 1, 21)))
    # Sixteenths lie in the middle of a bin.
    video_valid: Histogram = field(default_factory=lambda: Histogram((np.arange(18) - 0.5) / 16))
    face_size: Histogram = field(default_factory=lambda: Histogram(np.geomspace(1e-3, 1, 46)))

    def __post_init__(self) -> None:
        n_video = len(self.video.labels)
        self.together = {name: np.zeros((n_video, len(one.labels)), np.int64) for name, one in self.speech.items()}

    @property
    def spans(self) -> int:
        """Rows of the table."""
        return sum(one.spans for one in self.outcomes.values())

    @property
    def seconds(self) -> float:
        """Of video in all rows."""
        return sum(one.seconds for one in self.outcomes.values())

    def of_status(self, status: Status) -> OutcomeCount:
        """All rows of a status, without examples."""
        found = [one for outcome, one in self.outcomes.items() if outcome.status == status]
        return OutcomeCount(
            sum(one.spans for one in found), sum(one.seconds for one in found), sum(one.no_length for one in found)
        )

    def labels_by_class(self) -> dict[str, dict[str, int]]:
        """Labeled spans by teacher ("video" and the speech teachers' names) and label."""
        teachers = {"video": self.video, **self.speech}
        return {name: dict(zip(one.labels, one.spans.tolist(), strict=True)) for name, one in teachers.items()}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count some rows of the table."""
        self._count_outcomes(batch)
        rows = batch.filter(pc.equal(batch["status"], str(Status.LABELED)))
        if not len(rows):
            return
        self.speech_fraction.add(_numpy(rows["speech_fraction"]))
        valid = _numpy(rows["video_valid"].flatten())
        self.video_valid.add(valid)
        boxes, _ = flat_windows(rows["face_box"])
        self.face_size.add((boxes[:, 2] * boxes[:, 3])[valid > 0])
        seen = self.video.add(rows["video_probs"])
        for name, teacher in self.speech.items():
            heard = teacher.add(rows["speech_probs"].field(name))
            both = (seen != _NO_LABEL) & (heard != _NO_LABEL)
            counts = self.together[name]
            pairs = np.bincount(seen[both] * counts.shape[1] + heard[both], minlength=counts.size)
            counts += pairs.reshape(counts.shape)
        if self.n_faces:
            self._sample_faces(rows)

    def _count_outcomes(self, batch: pa.RecordBatch) -> None:
        keys = list(Outcome._fields)
        seconds = np.subtract(_numpy(batch["end_s"]), _numpy(batch["start_s"]))
        table = pa.Table.from_batches([batch.select(keys)])
        table = table.append_column("seconds", pa.array(seconds)).append_column("no_length", pa.array(seconds <= 0))
        grouped = table.group_by(keys).aggregate([("seconds", "count"), ("seconds", "sum"), ("no_length", "sum")])
        for row in grouped.to_pylist():
            outcome = Outcome(*(row[key] for key in keys))
            count = self.outcomes.setdefault(outcome, OutcomeCount())
            count.spans += row["seconds_count"]
            count.seconds += row["seconds_sum"]
            count.no_length += row["no_length_sum"]
            missing = N_EXAMPLES - len(count.examples)
            if missing and outcome.status != Status.LABELED:
                same = (pc.field("status") == outcome.status) & (pc.field("stage") == outcome.stage)
                same &= pc.field("reason") == outcome.reason
                found = batch.select([*keys, *Example._fields]).filter(same).slice(0, missing)
                count.examples += [Example(*(one[name] for name in Example._fields)) for one in found.to_pylist()]

    def _sample_faces(self, rows: pa.RecordBatch) -> None:
        fresh = pa.Table.from_batches([rows.select(_FACE_COLUMNS)])
        candidates = fresh if self.faces is None else pa.concat_tables([self.faces, fresh])
        self.faces = candidates.take(pc.select_k_unstable(candidates, self.n_faces, [("span_id", "ascending")]))


def count_rows(
    batches: Iterable[pa.RecordBatch],
    video_labels: Sequence[str],
    speech_labels: Mapping[str, Sequence[str]],
    n_faces: int = 0,
) -> TableStatistics:
    """Count the rows of a labels table.

    Args:
        batches: with the table's columns, except perhaps those that are not counted.
        video_labels: of the video teacher, in order.
        speech_labels: speech teacher name to its labels, in order.
        n_faces: how many labeled rows to keep for the contact sheet.
    """
    speech = {name: TeacherCounts(tuple(labels)) for name, labels in speech_labels.items()}
    statistics = TableStatistics(TeacherCounts(tuple(video_labels)), speech, n_faces)
    for batch in batches:
        statistics.add(batch)
    return statistics


def count_table(
    folders: OutputFolders, video_labels: Sequence[str], speech_labels: Mapping[str, Sequence[str]], n_faces: int = 0
) -> TableStatistics:
    """`count_rows` of a job's table as it is now; the job may be running."""
    fs, _ = filesystem(folders.labels)

    def read(path: str) -> pa.Table:
        with pq.ParquetFile(path, filesystem=fs) as file:
            return file.read(columns=list(_COLUMNS))

    def batches() -> Iterator[pa.RecordBatch]:
        # Not with the dataset's own scanner, which holds a gigabyte of row groups that nobody waits for.
        with ThreadPoolExecutor(_READERS) as threads:
            paths = whole_label_files(folders)
            for _, future in in_order(lambda path: threads.submit(read, path), paths, _FILES_AHEAD):
                yield from future.result().to_batches(max_chunksize=_BATCH_ROWS)

    return count_rows(batches(), video_labels, speech_labels, n_faces)


@dataclass
class PlanStatistics:
    """What was given to label.

    Attributes:
        spans: rows of the plan.
        seconds: of video in them.
        recording_s: length of each recording whose length is known, in seconds.
    """

    spans: int = 0
    seconds: float = 0.0
    recording_s: Histogram = field(default_factory=lambda: Histogram(np.geomspace(1, 36_000, 61)))


def count_plan(folders: OutputFolders) -> PlanStatistics:
    """Count the rows of a job's plan."""
    counts = PlanStatistics()
    fs, path = filesystem(folders.plan)
    plan = pads.dataset(path, filesystem=fs, format="parquet")
    for batch in plan.to_batches(columns=["start_s", "end_s", "recording_s"]):
        start_s, recording_s = _numpy(batch["start_s"]), _numpy(batch["recording_s"])
        counts.spans += len(batch)
        counts.seconds += float((_numpy(batch["end_s"]) - start_s).sum())
        counts.recording_s.add(recording_s[(start_s == 0) & (recording_s > 0)])
    return counts


def _numpy(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)
