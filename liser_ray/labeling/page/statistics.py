"""All that the page says of a table's rows, from one pass over them in constant memory.

The sound is never read. Rows come as Arrow batches and are counted by whole columns.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from liser_ray.corpora.ordered import in_order
from liser_ray.labeling.resume import OutputFolders, whole_label_files
from liser_ray.labeling.schema import flat_windows
from liser_ray.media.outcome import Status
from liser_ray.storage.files import filesystem

VIDEO = "video"
"""Name of the video teacher among the teachers."""

_COLUMNS = (
    *("span_id", "uri", "start_s", "end_s", "status", "stage", "reason", "detail"),
    *("speech_fraction", "video_probs", "video_valid", "speech_probs", "face_box"),
)
_N_EXAMPLES = 3  # rows kept for each outcome
_EXAMPLE_COLUMNS = ["uri", "start_s", "detail"]
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


@dataclass
class OutcomeCount:
    """Rows of one outcome.

    Attributes:
        spans: rows.
        seconds: of video in them.
        no_length: rows of recordings whose length is not known, which count 0 seconds.
        examples: uri, start_s and detail of the first rows, if they are not labeled.
    """

    spans: int = 0
    seconds: float = 0.0
    no_length: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Histogram:
    """Distribution of millions of values, as counts in fixed bins.

    Attributes:
        edges: of the B bins, rising, float64 [B + 1]; a value on an edge is in the bin above it. What lies outside
            counts in the nearest bin.
        counts: int64 [B].
    """

    edges: np.ndarray
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.edges) - 1, np.int64)

    @property
    def n(self) -> int:
        """Values in all bins."""
        return int(self.counts.sum())

    @property
    def median(self) -> float:
        """Half of the values are below it, as if they lay evenly in each bin; NaN without values."""
        return float(np.interp(self.n / 2, [0, *np.cumsum(self.counts)], self.edges)) if self.n else float("nan")

    def add(self, values: np.ndarray) -> None:
        """Count these values, float [n]."""
        bins = np.searchsorted(self.edges[1:-1].astype(values.dtype), values, side="right")
        self.counts += np.bincount(bins, minlength=len(self.counts))


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


class TableStatistics:
    """Counts over a labels table.

    Attributes:
        teachers: what each says, by its name.
        together: labeled spans by the first teacher's label and by another's, int64 [K_first, K], by the other's name.
        outcomes: how the rows ended.
        faces: the labeled rows with the smallest ids, which are hashes: a sample that does not depend on the order.
        speech_fraction: share of each labeled span that is speech.
        video_valid: share of frames with the face, of each window of labeled spans.
        face_size: of the face's box, as share of the frame's area, in each of these windows that is valid.
    """

    def __init__(self, labels: Mapping[str, Sequence[str]], n_faces: int = 0):
        """Nothing is counted yet. The teachers' labels are in the order of the softmax; `VIDEO` is first."""
        self.teachers = {name: TeacherCounts(tuple(its)) for name, its in labels.items()}
        n_first, *n_others = map(len, labels.values())
        others = list(labels)[1:]
        self.together = {name: np.zeros((n_first, n), np.int64) for name, n in zip(others, n_others, strict=True)}
        self.outcomes: dict[Outcome, OutcomeCount] = {}
        self.faces: pa.Table | None = None
        self.speech_fraction = Histogram(np.linspace(0, 1, 21))
        self.video_valid = Histogram((np.arange(18) - 0.5) / 16)  # sixteenths lie in the middle of a bin
        self.face_size = Histogram(np.geomspace(1e-3, 1, 46))
        self._n_faces = n_faces

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
        sums = (sum(getattr(one, name) for one in found) for name in ("spans", "seconds", "no_length"))
        return OutcomeCount(*sums)

    def labels_by_class(self) -> dict[str, dict[str, int]]:
        """Labeled spans by teacher and label."""
        teachers = self.teachers.items()
        return {name: dict(zip(one.labels, one.spans.tolist(), strict=True)) for name, one in teachers}

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
        first, *others = (
            one.add(rows["video_probs"] if name == VIDEO else rows["speech_probs"].field(name))
            for name, one in self.teachers.items()
        )
        for counts, said in zip(self.together.values(), others, strict=True):
            both = (first != _NO_LABEL) & (said != _NO_LABEL)
            np.add.at(counts, (first[both], said[both]), 1)
        if self._n_faces:
            fresh = pa.Table.from_batches([rows.select(_FACE_COLUMNS)])
            candidates = fresh if self.faces is None else pa.concat_tables([self.faces, fresh])
            self.faces = candidates.take(pc.select_k_unstable(candidates, self._n_faces, [("span_id", "ascending")]))

    def _count_outcomes(self, batch: pa.RecordBatch) -> None:
        keys = list(Outcome._fields)
        seconds = np.subtract(_numpy(batch["end_s"]), _numpy(batch["start_s"]))
        table = pa.table([*(batch[key] for key in keys), seconds, seconds <= 0], [*keys, "seconds", "no_length"])
        grouped = table.group_by(keys).aggregate([("seconds", "count"), ("seconds", "sum"), ("no_length", "sum")])
        for row in grouped.to_pylist():
            outcome = Outcome(*(row[key] for key in keys))
            count = self.outcomes.setdefault(outcome, OutcomeCount())
            count.spans += row["seconds_count"]
            count.seconds += row["seconds_sum"]
            count.no_length += row["no_length_sum"]
            missing = _N_EXAMPLES - len(count.examples)
            if missing and outcome.status != Status.LABELED:
                same = (pc.field("status") == outcome.status) & (pc.field("stage") == outcome.stage)
                same &= pc.field("reason") == outcome.reason
                count.examples += batch.filter(same).slice(0, missing).select(_EXAMPLE_COLUMNS).to_pylist()


def count_table(
    folders: OutputFolders, video_labels: Sequence[str], speech_labels: Mapping[str, Sequence[str]], n_faces: int = 0
) -> TableStatistics:
    """Count the rows of a job's table as it is now (the job may be running); labels are those of the teachers."""
    fs, _ = filesystem(folders.labels)

    def read(path: str) -> pa.Table:
        with pq.ParquetFile(path, filesystem=fs) as file:
            return file.read(columns=list(_COLUMNS))

    statistics = TableStatistics({VIDEO: video_labels, **speech_labels}, n_faces)
    # Not with the dataset's own scanner, which holds a gigabyte of row groups that nobody waits for.
    with ThreadPoolExecutor(_READERS) as threads:
        for _, future in in_order(lambda path: threads.submit(read, path), whole_label_files(folders), _FILES_AHEAD):
            for batch in future.result().to_batches(max_chunksize=_BATCH_ROWS):
                statistics.add(batch)
    return statistics


def count_plan(folders: OutputFolders) -> tuple[int, float, Histogram]:
    """Spans of a job's plan, seconds of video in them, and the lengths of recordings, where known, in seconds."""
    spans, seconds, recordings = 0, 0.0, Histogram(np.geomspace(1, 36_000, 61))
    fs, path = filesystem(folders.plan)
    plan = pads.dataset(path, filesystem=fs, format="parquet")
    for batch in plan.to_batches(columns=["start_s", "end_s", "recording_s"]):
        start_s, end_s, recording_s = map(_numpy, batch.columns)
        spans += len(batch)
        seconds += float((end_s - start_s).sum())
        recordings.add(recording_s[(start_s == 0) & (recording_s > 0)])
    return spans, seconds, recordings


def _numpy(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)
