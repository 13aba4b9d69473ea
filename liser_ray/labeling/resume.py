"""What makes a job resumable: the finished rows and Ray Data's checkpoint, kept in step.

Ray commits in three steps: ``checkpoint/X.pending.parquet`` with the ids, the rows as ``labels/X-0.parquet``, and a
rename to ``checkpoint/X.parquet``. A job may be killed between any two of them, and rows may be taken out of a finished
file to be made again. `reconcile` brings a folder back to the one rule that keeps rows from being lost or doubled:
**an id is in the checkpoint if and only if its row is in the labels.** Each part of the plan has labels and a
checkpoint of its own, so that clusters which label different parts leave each other alone.
"""

import logging
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.plan_table import part_of
from liser_ray.labeling.schema import Outcomes
from liser_ray.media.outcome import Status
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import filesystem, list_files, read_parquet, replace_parquet
from liser_ray.storage.retries import read_exactly, retried

log = logging.getLogger(__name__)

ID_COLUMN = "span_id"
_PENDING = ".pending"
_THREADS = 32  # for footers and single columns: the work is waiting for the store
_REWRITERS = 2  # of whole files, sound included: each takes several times its file in memory
_MAGIC = b"PAR1"  # how a whole Parquet file begins and ends
T = TypeVar("T")
U = TypeVar("U")


class OutputFolders:
    """Where a job keeps what, below its output; the spans, rows and ids of all parts, or those of one."""

    def __init__(self, output: str, part: str = ""):
        self.output, self.part = output, part
        below = [part] if part else []
        self.plan = join(output, "plan", *below)  # the spans
        self.labels = join(output, "labels", *below)  # the table
        self.checkpoint = join(output, "checkpoint", *below)  # ids of the rows in the table
        self.runs = join(output, "runs")  # a record of each run
        self.measure = join(output, "measure")  # what --measure found
        self.page = join(output, "report.html")  # what the table holds, for people
        self.run_card = join(output, "run.json")  # the recipe and what came of it

    def of_part(self, part: str) -> "OutputFolders":
        """Those of a part of the plan (a key of `PlanSummary.spans_by_part`)."""
        return OutputFolders(self.output, part)


def reconcile(folders: OutputFolders) -> int:
    """Undo half-done commits of a part and bring its checkpoint in step with its labels.

    Nobody else may be labeling that part.

    Only footers are read where both agree. Files that were torn when a machine lost its power are deleted.

    Returns:
        Rows in the labels table of the part: how many spans are done.
    """
    fs, _ = filesystem(folders.labels)
    data: dict[str, list[str]] = defaultdict(list)
    for info in list_files(folders.labels, ".parquet"):
        data[_data_stem(info.path)].append(info.path)
    committed, pending = {}, {}
    for info in list_files(folders.checkpoint, ".parquet"):
        stem = posixpath.basename(info.path).removesuffix(".parquet")
        if stem.endswith(_PENDING):
            pending[stem.removesuffix(_PENDING)] = info.path
        else:
            committed[stem] = info.path
    for stem, path in pending.items():
        # Both are there where a store without rename was cut off between copy and delete: the rows are whole. Ray's own
        # recovery would delete them and keep their ids.
        if stem not in committed:
            for half_done in data.pop(stem, []):
                fs.delete_file(half_done)
        fs.delete_file(path)

    def bring_in_step(stem: str) -> int:
        counts = {path: n for path in data.get(stem, []) if (n := _count_or_delete(path, fs)) is not None}
        rows = sum(counts.values())
        path = committed.get(stem)
        n_ids = _count_or_delete(path, fs) if path else None
        if rows == n_ids:
            return rows
        if rows == 0:
            for leftover in [*counts, *([path] if n_ids is not None else [])]:
                fs.delete_file(leftover)
            return 0
        ids = pa.concat_tables(read_parquet(one, fs, [ID_COLUMN]) for one in counts)
        folder = filesystem(folders.checkpoint)[1]
        replace_parquet(posixpath.join(folder, f"{stem}.parquet"), fs, ids.replace_schema_metadata())
        return rows

    return sum(_in_parallel(bring_in_step, data.keys() | committed.keys()))


def whole_label_files(folders: OutputFolders) -> list[str]:
    """The files of the table, in their file system; without those that a running or killed job has not committed."""
    # In this order: a file that is listed has its mark already, pending or not.
    paths = [info.path for info in list_files(folders.labels, ".parquet")]
    listed = (info.path for info in list_files(folders.checkpoint, ".parquet"))
    marks = {(part_of(path), posixpath.basename(path)) for path in listed}

    def marked(path: str, suffix: str) -> bool:
        return (part_of(path), f"{_data_stem(path)}{suffix}.parquet") in marks

    return [path for path in paths if marked(path, "") or not marked(path, _PENDING)]


def count_rows(folders: OutputFolders) -> int:
    """Rows of the table, or of a part of it, as it is: nothing is changed, since others may be labeling it."""
    fs, _ = filesystem(folders.labels)
    return sum(_in_parallel(lambda path: _count_rows(path, fs) or 0, whole_label_files(folders)))


def remove_failed(folders: OutputFolders, reasons: Collection[str] | None = None) -> int:
    """Take failed rows with these reasons (None: all) out of the labels, so that the next run makes them again.

    Returns:
        How many rows were taken out.
    """
    fs, _ = filesystem(folders.labels)

    def find(path: str) -> tuple[str, pa.ChunkedArray]:
        outcome = read_parquet(path, fs, ["status", "reason"])
        keep = pc.not_equal(outcome["status"], str(Status.FAILED))
        if reasons is not None:
            keep = pc.or_(keep, pc.invert(pc.is_in(outcome["reason"], pa.array(sorted(reasons), pa.string()))))
        return path, keep

    looked_at = _in_parallel(find, [info.path for info in list_files(folders.labels, ".parquet")])
    return sum(_in_parallel(lambda found: _keep_rows(fs, *found), looked_at, _REWRITERS))


def remove_doubles(folders: OutputFolders) -> int:
    """Keep one row of spans that have two; `reconcile` then brings the checkpoint in step.

    A machine that was cut off from the cluster may still finish a file while another run makes the same rows again.

    Returns:
        How many rows were taken out.
    """
    fs, _ = filesystem(folders.labels)
    ids = _sorted_ids(_batches(folders, [ID_COLUMN]))
    doubled = ids[1:][ids[1:] == ids[:-1]]
    seen: set[bytes] = set()
    removed = 0
    for info in list_files(folders.labels, ".parquet") if len(doubled) else []:
        ids = np.frombuffer(_binary_ids(read_parquet(info.path, fs, [ID_COLUMN])), "S16")
        keep = np.ones(len(ids), bool)
        for row in np.flatnonzero(np.isin(ids, doubled)):
            keep[row] = ids[row] not in seen
            seen.add(ids[row])
        removed += _keep_rows(fs, info.path, pa.array(keep))
    return removed


def count_outcomes(folders: OutputFolders) -> tuple[Outcomes, int]:
    """Rows of the labels table by status and reason, and how many different spans they are."""
    outcomes: Counter[tuple[str, str]] = Counter()

    def counted() -> Iterator[pa.RecordBatch]:
        for batch in _batches(folders, [ID_COLUMN, "status", "reason"]):
            outcomes.update(zip(batch["status"].to_pylist(), batch["reason"].to_pylist(), strict=True))
            yield batch

    ids = _sorted_ids(counted())
    return dict(outcomes), len(ids) - int(np.count_nonzero(ids[1:] == ids[:-1]))


def _batches(folders: OutputFolders, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of the whole labels table, a batch at a time, with many files under way at once."""
    fs, _ = filesystem(folders.labels)
    paths = [info.path for info in list_files(folders.labels, ".parquet")]
    with ThreadPoolExecutor(_THREADS) as pool:
        reading = in_order(lambda path: pool.submit(read_parquet, path, fs, columns), paths, 2 * _THREADS)
        for _, table in reading:
            yield from table.result().to_batches()


def _sorted_ids(batches: Iterable[pa.RecordBatch]) -> np.ndarray:
    """The ids in the column `ID_COLUMN` as 16 bytes each (S16), sorted; a Python set takes several times the memory."""
    ids = bytearray()
    for batch in batches:
        ids += _binary_ids(batch)  # it grows in place: arrays put together at the end would be there twice
    found = np.frombuffer(ids, "S16")
    found.sort()
    return found


def _binary_ids(rows: pa.Table | pa.RecordBatch) -> bytes:
    return bytes.fromhex("".join(rows[ID_COLUMN].to_pylist()))


def _count_or_delete(path: str, fs: pafs.FileSystem) -> int | None:
    """Rows of a file; None if it was torn: it is deleted then."""
    rows = _count_rows(path, fs)
    if rows is None:
        log.warning(
            "%s is torn, as a machine leaves it that loses its power: deleted, what it held is made again", path
        )
        fs.delete_file(path)
    return rows


def _count_rows(path: str, fs: pafs.FileSystem) -> int | None:
    """Rows of a file, from its footer; None if it is torn."""
    try:
        return int(retried(lambda: pq.read_metadata(path, filesystem=fs)).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        if not isinstance(error, pa.ArrowInvalid) and "deserialize thrift" not in str(error):
            raise  # the store's, not the file's
        # An answer that the store broke off looks the same; to what is asked here that is an OSError.
        with fs.open_input_file(path) as file:
            n_bytes = file.size()
            if n_bytes > 2 * len(_MAGIC) and read_exactly(file, n_bytes - len(_MAGIC), len(_MAGIC)) == _MAGIC:
                raise UserError(
                    f"{path} can't be read: {error}. Start the job again. If it stays so, delete the file: what it "
                    "held is made again."
                ) from error
    return None


def _keep_rows(fs: pafs.FileSystem, path: str, keep: pa.Array | pa.ChunkedArray) -> int:
    """Take the other rows out of a file, and say how many; the file goes if none stay."""
    others = len(keep) - int(pc.sum(keep).as_py() or 0)
    if others and others == len(keep):
        fs.delete_file(path)
    elif others:
        replace_parquet(path, fs, read_parquet(path, fs).filter(keep))
    return others


def _data_stem(path: str) -> str:
    """``X`` of ``labels/X-0.parquet``."""
    return re.sub(r"-\d+\.parquet$", "", posixpath.basename(path))


def _in_parallel(function: Callable[[T], U], items: Iterable[T], threads: int = _THREADS) -> list[U]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
