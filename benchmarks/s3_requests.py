"""Requests and bytes that each step of the labeling job asks of an S3 store, counted between the job and a real one.

`python benchmarks/s3_requests.py` starts the S3 store of the tests on the loopback interface and a proxy that counts
before it, and sends through it what the job does with recordings, label files and checkpoints: the same functions, one
after the other, without Ray's cluster. Prints and writes benchmarks/results/s3_requests.md.
"""

import os
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from fault_proxy import FaultProxy
from local_http import QuietHandler
from machine import RESULTS, describe, write_whole
from media_files import write_video
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_writer import BatchBasedCheckpointWriter
from small_labels import TARGETS
from swift_store import SwiftStore, data_folder

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.plan import load_plan_summary, make_plan
from liser_ray.labeling.resume import ID_COLUMN, OutputFolders, count_outcomes, reconcile
from liser_ray.labeling.schema import empty_column, labels_schema
from liser_ray.media.reader import Reader
from liser_ray.storage.files import filesystem

KINDS = ("LIST", "HEAD", "GET", "PUT", "COPY", "DELETE")
N_RECORDINGS = 4
RECORDING_S = 64.0
SPAN_S = 16.0
SPANS_PER_BLOCK = 2  # that one media worker takes after the other
N_FILES = 3
ROWS_PER_FILE = 768
AUDIO_BYTES = 288_000  # of a labeled span of 16 s, as FLAC
MB = 1e6

Step: TypeAlias = tuple[str, str, int, tuple[Counter[str], int, int]]


class CountingProxy(FaultProxy):
    """Passes requests on to a store and counts them by kind, with the bytes of their bodies."""

    def __init__(self, store: str):
        self._counting = threading.Lock()
        self._counted: tuple[Counter[str], int, int] = Counter(), 0, 0
        super().__init__(store)

    def passed_on(self, request: QuietHandler, body: bytes, answer: bytes) -> None:
        with self._counting:
            requests, sent, received = self._counted
            requests[_kind(request)] += 1
            self._counted = requests, sent + len(body), received + len(answer)

    def take(self) -> tuple[Counter[str], int, int]:
        """Requests by kind, bytes sent to the store and received from it, since the last call."""
        with self._counting:
            counted, self._counted = self._counted, (Counter(), 0, 0)
        return counted


def _kind(request: QuietHandler) -> str:
    if "x-amz-copy-source" in request.headers:
        return "COPY"
    query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    if request.command == "GET" and {"list-type", "prefix", "delimiter"} & query.keys():
        return "LIST"
    # The beginning and the end of an upload in parts cost what a PUT costs.
    return "DELETE" if "delete" in query else {"POST": "PUT"}.get(request.command, request.command)


def make_recording(path: Path) -> None:
    """About 5 Mbit/s of noise, as much as a sharp video of a speaker: the bytes matter, not the pictures."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (160, 208, 3), np.uint8) for _ in range(16)]
    write_video(
        path,
        lambda t: frames[round(t * 30) % len(frames)],
        duration_s=RECORDING_S,
        codec_options={"preset": "ultrafast", "b": "5M", "maxrate": "5M", "bufsize": "5M", "g": "60"},
        audio=rng.uniform(-0.5, 0.5, round(16_000 * RECORDING_S)).astype(np.float32),
        audio_rate_hz=16_000,
    )


def decode(uri: str) -> None:
    """All spans of a recording, as media workers do that take `SPANS_PER_BLOCK` one after the other."""
    for block in range(round(RECORDING_S / SPAN_S / SPANS_PER_BLOCK)):
        with Reader(uri) as reader:
            for span in range(SPANS_PER_BLOCK):
                start_s = (block * SPANS_PER_BLOCK + span) * SPAN_S
                stream = reader.span(start_s, start_s + SPAN_S)
                for _ in stream:
                    pass
                stream.pcm()


def write_labels(folders: OutputFolders) -> None:
    """`N_FILES` files of labels, each with its commit, by the calls of Ray Data's writer."""
    fs, labels_path = filesystem(folders.labels)
    _, checkpoint_path = filesystem(folders.checkpoint)
    config = CheckpointConfig(ID_COLUMN, checkpoint_path, override_filesystem=fs)
    schema = labels_schema(TARGETS)
    rng = np.random.default_rng(0)
    for number in range(N_FILES):
        stem = f"part-{number}"
        ids = pa.array([rng.bytes(16).hex() for _ in range(ROWS_PER_FILE)])
        columns = {one.name: empty_column(one.type, ROWS_PER_FILE) for one in schema}
        columns |= {ID_COLUMN: ids, "status": pa.array(["labeled"] * ROWS_PER_FILE)}
        columns["audio"] = pa.array([rng.bytes(AUDIO_BYTES) for _ in range(ROWS_PER_FILE)], pa.binary())
        writer = BatchBasedCheckpointWriter(config)  # each write task makes one
        pending = writer.write_pending_checkpoint(ids, stem)
        pads.write_dataset(
            pa.Table.from_arrays([columns[one.name] for one in schema], schema=schema),
            labels_path,
            filesystem=fs,
            format="parquet",
            basename_template=stem + "-{i}.parquet",
            existing_data_behavior="overwrite_or_ignore",
            create_dir=True,  # as Ray 2.60 calls it
        )
        assert pending is not None
        writer.commit_checkpoint(pending)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = data_folder(folder)
        if data is None:
            raise SystemExit("No place for the S3 store: neither the temporary folder nor /dev/shm takes user xattrs.")
        store = SwiftStore(folder, data)
        try:
            proxy = CountingProxy(store.endpoint)
            os.environ.update(store.environment, AWS_ENDPOINT_URL=proxy.endpoint)
            steps, n_bytes = count(store, proxy, folder / "video.mp4")
        finally:
            store.close()
    lines = [
        "| step | for each | LIST | HEAD | GET | PUT | COPY | DELETE | sent, MB | received, MB |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, unit, n, (requests, sent, received) in steps:
        cells = [f"{requests[kind] / n:.4g}" for kind in KINDS]
        lines.append(f"| {name} | {unit} | {' | '.join(cells)} | {sent / n / MB:.3f} | {received / n / MB:.3f} |")
    table = "\n".join(lines)
    text = f"""# Requests to an S3 store

Made by `python benchmarks/s3_requests.py`: {N_RECORDINGS} recordings of {RECORDING_S:.0f} s and {n_bytes / MB:.1f} MB
each, {N_FILES} files of {ROWS_PER_FILE} labels. A request that fails is made again and counts twice.

{table}

- "Decoding" is what media workers do that take {SPANS_PER_BLOCK} spans of {SPAN_S:.0f} s of a recording in turn; a span
  is {n_bytes * SPAN_S / RECORDING_S / MB:.2f} MB of the file.
- "Writing" is a file with {AUDIO_BYTES / 1000:.0f} kB of sound in each row and its commit in Ray Data's checkpoint:
  upload in parts, directory marks and looks at them included. Parts, beginning and end of an upload count as PUT.
- The counts of a listing hold for up to 1,000 objects; each further 1,000 are one more LIST.

Machine: {describe(("ray", "pyarrow", "boto3", "av"))}
"""
    print(text)
    write_whole(RESULTS / "s3_requests.md", text)


def count(store: SwiftStore, proxy: CountingProxy, video: Path) -> tuple[list[Step], int]:
    """Each step's name, unit, number of units, and what it asked for; and the size of a recording."""
    make_recording(video)
    bucket = store.bucket()
    for number in range(N_RECORDINGS):
        store.client.upload_file(str(video), bucket, f"videos/{number}.mp4")
    uris = [f"s3://{bucket}/videos/{number}.mp4" for number in range(N_RECORDINGS)]
    folders = OutputFolders(f"s3://{bucket}/out", "part-00001")
    steps: list[Step] = []

    def step(name: str, unit: str, n: int) -> None:
        steps.append((name, unit, n, proxy.take()))

    read_headers(uris)
    step("reading headers", "recording", N_RECORDINGS)
    for uri in uris:
        decode(uri)
    step("decoding", "span", round(N_RECORDINGS * RECORDING_S / SPAN_S))
    make_plan(f"s3://{bucket}/videos", folders.output, PlanConfig(probe_workers=1))
    step("planning, headers included", "job of 4 recordings", 1)
    load_plan_summary(folders.output)
    step("opening the plan", "job with one plan file", 1)
    write_labels(folders)
    step("writing", "label file", N_FILES)
    reconcile(folders)
    step("reconciling", "label file", N_FILES)
    count_outcomes(folders)
    step("last count", "label file", N_FILES)
    return steps, video.stat().st_size


if __name__ == "__main__":
    main()
