"""All that the page says of a table's rows, from one pass over them in constant memory.

The sound is never read. Rows come as Arrow batches and are counted by whole columns.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from liser_ray.corpora.labels import meaning
from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.segments import SEGMENT_COLUMNS
from liser_ray.labeling.resume import OutputFolders, whole_label_files
from liser_ray.labeling.schema import flat_windows, set_columns
from liser_ray.media.outcome import Status
from liser_ray.storage.files import filesystem
from liser_ray.storage.retries import retried
from liser_ray.teachers.targets import Target

_COLUMNS = ("span_id", "uri", "start_s", "end_s", "status", "stage", "reason", "detail", "speech_fraction", "face_box")
_N_EXAMPLES = 3  # rows kept for each outcome
_EXAMPLE_COLUMNS = ["uri", "start_s", "detail"]
_FACE_COLUMNS = ["span_id", "uri", "start_s", "face_box"]
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
        seconds: of recordings in them; one whose length is not known counts 0.
        examples: uri, start_s and detail of the first rows, if they are not labeled.
    """

    spans: int = 0
    seconds: float = 0.0
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


class WideningHistogram(Histogram):
    """For values of an unknown range: bins around 0 that get twice as wide until all values fit, in any order."""

    def __init__(self) -> None:
        super().__init__(np.linspace(-(2.0**-10), 2.0**-10, 2**14 + 1))  # powers of two: all edges are exact

    @property
    def coarse_counts(self) -> np.ndarray:
        """Counts in 256 bins over the whole range, int64: what is nearly the same lies in one."""
        return self.counts.reshape(256, -1).sum(axis=1)

    def middle(self, n_bins: int = 256) -> Histogram:
        """The same in so many bins at most, over all but the lowest and highest thousandth, which count at its ends.

        A single value far away would else leave one bin to all others.
        """
        below = np.concatenate([[0], np.cumsum(self.counts)])
        first, last = np.searchsorted(below[1:], [0.001 * self.n, 0.999 * self.n])
        step = -(-(last + 1 - first) // n_bins)
        cuts = np.unique(np.minimum(np.arange(first, last + 1 + step, step), len(self.counts)))
        found = Histogram(self.edges[cuts])
        found.counts = np.diff(below[cuts])
        found.counts[0] += below[cuts[0]]
        found.counts[-1] += self.n - below[cuts[-1]]
        return found

    def add(self, values: np.ndarray) -> None:
        """Count these values, float [n]."""
        while np.abs(values).max(initial=0) >= self.edges[-1]:
            self.edges *= 2
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(axis=1), len(self.counts) // 4)
        super().add(values)


class TargetCounts:
    """What a target says of labeled spans; only windows that show the face or have speech (``valid`` > 0) say anything.

    Attributes:
        target: which.
        valid: of all windows.
        spans: labeled spans by the label with the largest mean value, int64 [K].
        confidence: largest probability of each window, 1/K to 1.
        entropy_bits: entropy of each window's distribution, 0 to log2 K bits.
        values: of a scalar's windows; a scalar has no labels, confidence and entropy, a distribution no values.
    """

    def __init__(self, target: Target):
        """Nothing is counted yet."""
        n_labels = len(target.labels)
        self.target = target
        self.valid = Histogram((np.arange(18) - 0.5) / 16)  # sixteenths lie in the middle of a bin
        self.spans = np.zeros(n_labels, np.int64)
        self.confidence = Histogram(np.linspace(self.no_opinion, 1, _BINS + 1))
        self.entropy_bits = Histogram(np.linspace(0, np.log2(max(2, n_labels)), _BINS + 1))
        self.values = WideningHistogram()

    @property
    def no_opinion(self) -> float:
        """The confidence of a uniform distribution."""
        return 1 / len(self.target.labels)

    def add(self, column: pa.StructArray) -> np.ndarray:
        """Count a target of N labeled spans.

        Returns:
            Index of each span's label, int64 [N]; -1 where it has none.
        """
        values, lengths = flat_windows(column.field("values"))
        valid = _numpy(column.field("valid").flatten())
        self.valid.add(valid)
        values, rows = values[valid > 0], np.repeat(np.arange(len(lengths)), lengths)[valid > 0]
        if self.target.kind == "scalar":
            self.values.add(values[:, 0])
            return np.full(len(lengths), _NO_LABEL)
        # K passes over columns are several times faster than reductions of K values each.
        sums = np.array([np.bincount(rows, of_label, len(lengths)) for of_label in values.T])
        said = np.where(sums.any(axis=0), sums.argmax(axis=0), _NO_LABEL)
        self.spans += np.bincount(said[said != _NO_LABEL], minlength=len(self.spans))
        largest, entropy = np.zeros(len(values), np.float32), np.zeros(len(values), np.float32)
        for of_label in values.T:
            np.maximum(largest, of_label, out=largest)
            entropy -= of_label * np.log2(np.maximum(of_label, np.float32(1e-30)))
        self.confidence.add(largest)
        self.entropy_bits.add(entropy)
        return said


class TableStatistics:
    """Counts over a labels table.

    Attributes:
        targets: what each says, by its name.
        together: labeled spans by the labels of two distributions that have a label in common, int64 [K_1, K_2], by
            their names.
        outcomes: how the rows ended.
        faces: the labeled rows with a face that have the smallest ids, which are hashes: a sample that does not depend
            on the order.
        speech_fraction: share of each labeled span that is speech.
        face_size: of the face's box, as share of the frame's area, in each window of labeled spans that has one.
    """

    def __init__(self, targets: Sequence[Target], n_faces: int = 0):
        """Nothing is counted yet."""
        self.targets = {one.name: TargetCounts(one) for one in targets}
        self.together = {
            (one.name, other.name): np.zeros((len(one.labels), len(other.labels)), np.int64)
            for one, other in combinations([one for one in targets if one.kind == "distribution"], 2)
            if set(map(meaning, one.labels)) & set(map(meaning, other.labels))
        }
        self.outcomes: dict[Outcome, OutcomeCount] = {}
        self.faces: pa.Table | None = None
        self.speech_fraction = Histogram(np.linspace(0, 1, 21))
        self.face_size = Histogram(np.geomspace(1e-3, 1, 46))
        self._n_faces = n_faces

    @property
    def distributions(self) -> list[TargetCounts]:
        """Those that have labels."""
        return [one for one in self.targets.values() if one.target.kind == "distribution"]

    def total(self, status: Status | None = None) -> OutcomeCount:
        """All rows, or those of a status, without examples."""
        found = [one for outcome, one in self.outcomes.items() if status in (None, outcome.status)]
        return OutcomeCount(sum(one.spans for one in found), sum(one.seconds for one in found))

    def labels_by_class(self) -> dict[str, dict[str, int]]:
        """Labeled spans by distribution and label."""
        return {
            one.target.name: dict(zip(one.target.labels, one.spans.tolist(), strict=True)) for one in self.distributions
        }

    def add(self, batch: pa.RecordBatch) -> None:
        """Count some rows of the table."""
        self._count_outcomes(batch)
        rows = batch.filter(pc.equal(batch["status"], str(Status.LABELED)))
        self.speech_fraction.add(_numpy(rows["speech_fraction"]))
        said = {name: one.add(rows["targets"].field(name)) for name, one in self.targets.items()}
        for (one, other), counts in self.together.items():
            both = (said[one] != _NO_LABEL) & (said[other] != _NO_LABEL)
            np.add.at(counts, (said[one][both], said[other][both]), 1)
        boxes, lengths = flat_windows(rows["face_box"])
        sizes = boxes[:, 2] * boxes[:, 3]
        self.face_size.add(sizes[sizes > 0])
        if self._n_faces and sizes.any():
            with_face = np.unique(np.repeat(np.arange(len(rows)), lengths)[sizes > 0])
            fresh = pa.Table.from_batches([rows.select(_FACE_COLUMNS).take(with_face)])
            candidates = fresh if self.faces is None else pa.concat_tables([self.faces, fresh])
            self.faces = candidates.take(pc.select_k_unstable(candidates, self._n_faces, [("span_id", "ascending")]))

    def _count_outcomes(self, batch: pa.RecordBatch) -> None:
        keys = list(Outcome._fields)
        seconds = np.subtract(_numpy(batch["end_s"]), _numpy(batch["start_s"]))
        table = pa.table([*(batch[key] for key in keys), seconds], [*keys, "seconds"])
        grouped = table.group_by(keys).aggregate([("seconds", "count"), ("seconds", "sum")])
        for row in grouped.to_pylist():
            outcome = Outcome(*(row[key] for key in keys))
            count = self.outcomes.setdefault(outcome, OutcomeCount())
            count.spans += row["seconds_count"]
            count.seconds += row["seconds_sum"]
            missing = _N_EXAMPLES - len(count.examples)
            if missing and outcome.status != Status.LABELED:
                same = (pc.field("status") == outcome.status) & (pc.field("stage") == outcome.stage)
                same &= pc.field("reason") == outcome.reason
                count.examples += batch.filter(same).slice(0, missing).select(_EXAMPLE_COLUMNS).to_pylist()


def count_table(folders: OutputFolders, targets: Sequence[Target], n_faces: int = 0) -> TableStatistics:
    """Count the rows of a job's table as it is now (the job may be running), and keep so many rows with a face.

    The times in what is kept are those of the files, also where the recordings are segments of them.
    """
    fs, _ = filesystem(folders.labels)
    columns = [*_COLUMNS, *(f"targets.{one.name}.{part}" for one in targets for part in ("values", "valid"))]

    def read(path: str) -> pa.Table:
        with pq.ParquetFile(path, filesystem=fs) as file:
            in_file = [name for name in SEGMENT_COLUMNS[:1] if name in file.schema_arrow.names]
            rows = file.read(columns=[*columns, *in_file])
        for name in in_file:
            times = {time: pc.add(rows[time], rows[name]) for time in ("start_s", "end_s")}
            rows = set_columns(rows.drop_columns(name), times)
        return rows

    statistics = TableStatistics(targets, n_faces)
    # Not with the dataset's own scanner, which holds a gigabyte of row groups that nobody waits for.
    with ThreadPoolExecutor(_READERS) as threads:
        for _, future in in_order(
            lambda path: threads.submit(retried, partial(read, path)), whole_label_files(folders), _FILES_AHEAD
        ):
            for batch in future.result().to_batches(max_chunksize=_BATCH_ROWS):
                statistics.add(batch)
    return statistics


def _numpy(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)
