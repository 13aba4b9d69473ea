"""Does a table of a million rows stream to a student in bounded memory? Rows per second, memory over time, spilling.

`python benchmarks/stream_million.py` makes a table of 1,000,000 labeled rows in a temporary folder (about a gigabyte;
deleted at the end), opens it, and takes batches of 25 from `StreamedSegments` as the training does, without learning
from them. Prints and writes benchmarks/results/stream_million.md. Stops after ``--seconds`` and says how far it came;
``--rows 20000 --seconds 30`` tries the script out (what it writes then goes to ``--result``, if given).
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries below are imported
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from machine import RESULTS, describe_busy, memory_together, write_whole
from small_labels import SPEECH_LABELS, write_labels

from liser_ray.media.flac import encode_flac
from liser_ray.runtime.cluster import start_ray
from liser_ray.runtime.display import Counting
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.data.order import SHUFFLE_ROWS
from liser_ray.student.data.stream import StreamedSegments, StreamSource
from liser_ray.student.data.unlabeled import SegmentSettings

RESULT = RESULTS / "stream_million.md"
MILLION = 1_000_000
ROWS_PER_GROUP = 768
GROUPS_PER_FILE = 8
N_SOUNDS = 32
BATCH = 25
LOOK_EVERY_S = 2.0
MB = 1e6


class Memory(NamedTuple):
    """Bytes at a moment.

    Attributes:
        seconds: since the first batch was asked for.
        driver: resident, of this process.
        together: of this process, Ray's and its workers', where shared memory counts once (PSS).
        spilled: on disk, from the object store.
    """

    seconds: float
    driver: int
    together: int
    spilled: int


def write_table(folder: Path, n_rows: int) -> None:
    """Rows of 3 s of a tone each, that repeat; their content hashes do not."""
    with tempfile.TemporaryDirectory() as pool_folder:
        write_labels(Path(pool_folder), N_SOUNDS, files=1, statuses=(1, 0, 0), lengths_s=(3.0, 3.0))
        pool = pq.read_table(Path(pool_folder) / "part-000.parquet")
    time_s = np.arange(48_000) / 16_000
    tones = [(40 * np.sin(2 * np.pi * (100 + 20 * k) * time_s)).astype(np.int16) for k in range(N_SOUNDS)]
    at = pool.schema.get_field_index("audio")
    pool = pool.set_column(at, pool.schema.field(at), pa.array([encode_flac(tone) for tone in tones], pa.binary()))
    rng = np.random.default_rng(0)
    at = pool.schema.get_field_index("content_hash")
    per_file = ROWS_PER_GROUP * GROUPS_PER_FILE
    folder.mkdir()
    for first in range(0, n_rows, per_file):
        n = min(per_file, n_rows - first)
        hashes = rng.bytes(32 * n).hex()
        rows = pool.take(rng.integers(0, N_SOUNDS, n)).set_column(
            at, pool.schema.field(at), pa.array([hashes[64 * k : 64 * k + 64] for k in range(n)])
        )
        pq.write_table(rows, folder / f"{first:07}.parquet", row_group_size=ROWS_PER_GROUP, compression="zstd")


class Watch(threading.Thread):
    """Looks at the memory now and then."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[Memory] = []
        self._start = time.perf_counter()
        self._session = Path(ray._private.worker._global_node.get_session_dir_path())
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            me = psutil.Process()
            together = memory_together(me.pid)
            spilled = sum(map(_file_bytes, self._session.glob("ray_spilled_objects*/*")))
            self.seen.append(Memory(time.perf_counter() - self._start, me.memory_info().rss, together, spilled))

    def stop(self) -> None:
        self._over.set()
        self.join()


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it has gone
        return 0


def thirds(seen: Sequence[Memory]) -> str:
    """A line for each third of the time: the most that was seen in it."""
    lines = [
        "| third | driver, MB | all processes, MB | spilled, MB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, part in zip(("first", "middle", "last"), np.array_split(np.array(seen), 3), strict=True):
        most = part.max(axis=0) / MB if len(part) else np.zeros(4)
        lines.append(f"| {name} | {most[1]:,.0f} | {most[2]:,.0f} | {most[3]:,.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="of streaming, at most (default: 600)")
    parser.add_argument("--rows", type=int, default=MILLION, help="of the table; figures are written for a million")
    parser.add_argument(
        "--result", type=Path, help=f"file for the figures (default: {RESULT.name}, for a million rows)"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result = options.result or (RESULT if options.rows == MILLION else None)
    start_ray()

    with tempfile.TemporaryDirectory(prefix="stream_million-") as temporary:
        folder = Path(temporary) / "labels"
        start = time.perf_counter()
        write_table(folder, options.rows)
        made_s = time.perf_counter() - start
        disk_mb = sum(path.stat().st_size for path in folder.iterdir()) / MB

        start = time.perf_counter()
        table = open_labels_table(str(folder))
        opened_s = time.perf_counter() - start
        print(f"made in {made_s:.0f} s, {disk_mb:,.0f} MB; opened in {opened_s:.1f} s")

        targets = {"speech": table.targets["fold-0"], "face": table.targets["face"]}
        source = StreamSource(table, targets, SegmentSettings(SPEECH_LABELS), seed=0)
        segments = StreamedSegments(source, 0, torch.device("cpu"))
        watch = Watch()
        watch.start()
        start = time.perf_counter()
        segments.take(BATCH)
        first_s = time.perf_counter() - start
        n_seen, elapsed_s = BATCH, first_s
        with Counting("segments", table.n_rows, n_seen) as counting:
            while n_seen < table.n_rows and elapsed_s < options.seconds:
                segments.take(min(BATCH, table.n_rows - n_seen))
                n_seen, elapsed_s = min(n_seen + BATCH, table.n_rows), time.perf_counter() - start
                counting.show(n_seen)
        watch.stop()
        segments.close()
        ray.shutdown()

    where = describe_busy(("ray", "torch", "pyarrow"))
    text = f"""# A table of {options.rows:,} rows, streamed

Made by `{" ".join(["python benchmarks/stream_million.py", *arguments])}`: {table.n_rows:,} labeled rows of 3 s
in {len(table.groups):,} row groups, {disk_mb:,.0f} MB on disk; batches of {BATCH}, by one process that does nothing
with them.

- **Opened** (rows counted, content hashed) in {opened_s:.1f} s.
- **First segment** after {first_s:.1f} s: workers start, and {min(SHUFFLE_ROWS, table.n_rows):,} rows are read to
  be shuffled.
- **Seen** {n_seen:,} rows ({n_seen / table.n_rows:.1%} of the table) in {elapsed_s:.0f} s: {n_seen / elapsed_s:,.0f}
  rows per second, {(n_seen - BATCH) / max(elapsed_s - first_s, 1e-9):,.0f} after the first segment.
- **Memory**, the most in each third of that time:

{thirds(watch.seen)}

Machine: {where}

- "Driver" is the resident memory of the process that learns, with what it maps of the object store. "All processes" is
  it, Ray's and the workers' together, with shared memory counted once (PSS of `/proc`), so the object store is in it.
- The sound is {N_SOUNDS} tones of 3 s that repeat, so that the table is small. Real rows are up to 16 s of sound, which
  cost more to read and to decode; the segments that come of them are as large as these.
"""
    print(text)
    if result:
        write_whole(result, text)


if __name__ == "__main__":
    main(sys.argv[1:])
