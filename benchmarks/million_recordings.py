"""Does a corpus of a million recordings fit the driver? Its plan, checkpoint, resume and last count, at three sizes.

`python benchmarks/million_recordings.py driver` makes plans of generated headers (2 to 10 minutes each, so that a
million are 100,000 hours) in a temporary folder, and for each size measures what the labeling job does in its driver,
each step in a process of its own; all in one part of the plan, about the largest that may be made. `python
benchmarks/million_recordings.py ray` measures what Ray Data does with them: the pipeline with stages that do nothing,
killed at half and resumed, on corpora small enough for that, and the start of a job with a large checkpoint. They write
benchmarks/results/million_recordings.md and million_recordings_ray.md. --recordings with other sizes tries the script
out and writes nothing but to ``--result``.
"""

import argparse
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries below are imported

import psutil
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import ray
from machine import DATA, RESULTS, describe_busy, memory_together, peak_bytes, write_whole
from ray.data.checkpoint.checkpoint_filter import convert_and_sort_checkpointed_ids

from liser_ray.corpora import plan
from liser_ray.corpora.config import MOST_SPANS_PER_PART, PlanConfig
from liser_ray.corpora.plan import PlanSummary, load_plan_summary, make_plan
from liser_ray.corpora.probe import Probed, probe_all
from liser_ray.corpora.recordings import Listing, Recording, list_recordings
from liser_ray.labeling import pipeline
from liser_ray.labeling.config import LabelConfig, fit_pools, spans_per_file
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.planning import describe_plan
from liser_ray.labeling.progress import JobCounts
from liser_ray.labeling.resume import ID_COLUMN, OutputFolders, count_outcomes, reconcile, remove_doubles
from liser_ray.labeling.schema import CLIPS, empty_column, labels_schema, set_columns
from liser_ray.media.reader import Header
from liser_ray.runtime.cluster import start_ray
from liser_ray.teachers.targets import Target

RECORDINGS = {"driver": (10_000, 100_000, 1_000_000), "ray": (10_000, 100_000, 1_000_000)}
PIPELINE_RECORDINGS = (20, 80, 320)
N_PROBES = 400
LENGTHS_S = (120.0, 600.0)  # 6 minutes in the mean: a million recordings are 100,000 hours
ROWS_PER_FILE = 768  # the job's own, for anything larger than a try
LEFT = 2 * ROWS_PER_FILE  # spans that a resumed job finds undone
TARGETS = tuple(Target(name, "distribution", ("happy", "sad"), 0.5, 0.5, "", name) for name in ("face", "speech"))
WATCH_EVERY_S = 0.2
MB = 1e6


class Cost(NamedTuple):
    """What a step took.

    Attributes:
        seconds: wall time.
        cpu_s: CPU time of the driver, which other work on the machine does not change much.
        driver: bytes; the most that was resident.
        together: bytes; the most of the driver, Ray and its workers, where shared memory counts once (PSS).
        value: what the step found.
    """

    seconds: float
    cpu_s: float
    driver: int
    together: int
    value: Any


# --- a corpus that is not there


def generated_listing(n_recordings: int) -> Listing:
    """As an S3 prefix with so many videos would be listed."""
    return Listing(
        (
            Recording(f"s3://lab/videos/{i // 1000:05}/{i:08}.mp4", 50_000_000 + i, f"{i * 0x9E3779B97F4A7C15:032x}")
            for i in range(n_recordings)
        ),
        total=n_recordings,
    )


def generated_headers(recordings: Iterable[Recording], *_: object) -> Iterator[Probed]:
    """Headers of good recordings, their lengths spread evenly over `LENGTHS_S`."""
    shortest_s, longest_s = LENGTHS_S
    for i, recording in enumerate(recordings):
        duration_s = shortest_s + (longest_s - shortest_s) * (i * 0.618033988749895 % 1)
        yield Probed(recording, Header(duration_s, 1920, 1080, 30.0, True, True, recording.size_bytes))


def plan_generated(n_recordings: int, output: str) -> PlanSummary:
    """`make_plan`'s own code over a listing and headers that are made up."""
    with (
        mock.patch.object(plan, "list_recordings", return_value=generated_listing(n_recordings)),
        mock.patch.object(plan, "probe_all", generated_headers),
    ):
        return make_plan("s3://lab/videos", output, PlanConfig(spans_per_part=MOST_SPANS_PER_PART))


def folders_of(output: str) -> OutputFolders:
    """Those of the only part of a generated plan."""
    return OutputFolders(output, "part-00001")


def label_all_but(output: str, n_left: int) -> int:
    """Files as a job leaves them that has `n_left` spans to go, at most half of them; returns how many it has made."""
    folders = folders_of(output)
    for folder in (folders.labels, folders.checkpoint):
        Path(folder).mkdir(parents=True)
    schema = labels_schema(TARGETS)
    empty = pa.Table.from_arrays([empty_column(one.type, ROWS_PER_FILE) for one in schema], schema=schema)
    files = sorted(Path(folders.plan).glob("*.parquet"))
    n_planned = sum(pq.read_metadata(path).num_rows for path in files)
    n_to_do, done = n_planned - min(n_left, n_planned // 2), 0
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_FILE, columns=[ID_COLUMN, "reason"]):
            ids, reasons = batch.slice(0, n_to_do - done).columns
            if len(ids):
                columns = {ID_COLUMN: ids, "reason": reasons, "status": pa.array(["labeled"] * len(ids))}
                rows = set_columns(empty.slice(0, len(ids)), columns)
                pq.write_table(rows, f"{folders.labels}/{done:012}-0.parquet", compression="zstd")
                pq.write_table(rows.select([ID_COLUMN]), f"{folders.checkpoint}/{done:012}.parquet")
            done += len(ids)
    return done


# --- the pipeline, with stages that do nothing


class NoMedia(MediaStage):
    """Rows as the media stage makes them, of spans without anything in them."""

    def __init__(self, schema: pa.Schema, *_: object):
        self._schema = schema

    def __call__(self, spans: pa.Table) -> Iterator[pa.Table]:
        return (self._row(span, None, None) for span in spans.to_pylist())


class NoTeacher:
    """Passes all on but the clips, which the last teacher of faces takes away."""

    def __init__(self, entries: object, required: object, precision: object, drops_clips: bool, *_: object):
        self._drops_clips = drops_clips

    def __call__(self, spans: pa.Table) -> pa.Table:
        return spans.drop_columns([CLIPS.name]) if self._drops_clips else spans


def run_generated(output: str) -> int:
    """What `label_corpus` does with a part, from one count of the rows to the next; returns how many there are."""
    folders = folders_of(output)
    config = LabelConfig(output=output, teachers=["face=s2d:", "speech=speech:"])
    summary = load_plan_summary(output)
    assert summary is not None
    reconcile(folders)
    start_ray()
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import a script
    resources = ray.cluster_resources()
    with (
        mock.patch.object(pipeline, "MediaStage", NoMedia),
        mock.patch.object(pipeline, "TeacherStage", NoTeacher),
    ):
        pipeline.run_pipeline(
            config,
            folders,
            labels_schema(TARGETS),
            fit_pools(config, resources["CPU"], 0),
            spans_per_file(config, summary.spans),
            JobCounts(),
        )
    done = reconcile(folders)
    ray.shutdown()
    return done


# --- measuring


# Forked from a process that has the imports and nothing else: a driver's memory, without its 10 s of importing.
_new_process = multiprocessing.get_context("forkserver")
_new_process.set_forkserver_preload([pipeline.__name__, count_outcomes.__module__])


def measure(step: Callable[..., Any], *arguments: object) -> Cost:
    """A step in a new process."""
    with ProcessPoolExecutor(1, _new_process) as pool:
        return pool.submit(_measured, step, *arguments).result()


def _measured(step: Callable[..., Any], *arguments: object) -> Cost:
    start, cpu = time.perf_counter(), time.process_time()
    value = step(*arguments)
    return Cost(time.perf_counter() - start, time.process_time() - cpu, peak_bytes(), peak_bytes(), value)


def watch(step: Callable[..., Any], *arguments: object, kill_when: Callable[[], bool] | None = None) -> Cost:
    """A step that starts Ray, in a new process that is looked at from outside, and killed when that is said."""
    process = multiprocessing.get_context("spawn").Process(target=step, args=arguments)
    start = time.perf_counter()
    process.start()
    assert process.pid is not None
    seen, driver, cpu_s = [0], 0, 0.0
    while process.is_alive() and not (kill_when and kill_when()):
        with suppress(psutil.Error, OSError):  # it may just have ended
            driver, cpu_s = max(driver, peak_bytes(process.pid)), sum(psutil.Process(process.pid).cpu_times()[:2])
            seen.append(memory_together(process.pid))
        time.sleep(WATCH_EVERY_S)
    seconds = time.perf_counter() - start
    if kill_when:
        process.kill()
    process.join()
    if process.exitcode not in (0, -9 if kill_when else 0):
        raise RuntimeError(f"{step.__name__} ended with {process.exitcode}")
    return Cost(seconds, cpu_s, driver, max(seen), None)


def growth(costs: Sequence[Cost], sizes: Sequence[int], of: str = "cpu_s") -> str:
    """Exponent of a cost between the last two sizes: 1 is linear; – where it can't be told."""
    if len(costs) < 2:
        return "–"
    less, more = (getattr(cost, of) for cost in costs[-2:])
    return f"{math.log(more / less) / math.log(sizes[-1] / sizes[-2]):.2f}" if min(less, more) > 0 else "–"


def nothing() -> None:
    """What a driver has in memory before it does anything: its imports."""


def probe_real(folder: str, n: int) -> tuple[int, int, float]:
    """Headers of real recordings read `n` times in all; how many recordings there are, their bytes, their seconds."""
    recordings = list(list_recordings(folder).recordings)
    again = [recordings[i % len(recordings)] for i in range(n)]
    probed = list(probe_all(again, PlanConfig()))
    headers = [one.header for one in probed[: len(recordings)] if one.header]
    return len(headers), sum(one.size_bytes for one in headers), sum(one.duration_s or 0.0 for one in headers)


def driver_text(sizes: Sequence[int], temporary: Path) -> str:
    """The steps that need no Ray, as text."""
    base = measure(nothing).driver
    costs: dict[str, list[Cost]] = {}
    facts = []
    for n in sizes:
        output = str(temporary / f"{n}")
        folders = folders_of(output)
        costs.setdefault("plan", []).append(measure(plan_generated, n, output))
        summary: PlanSummary = costs["plan"][-1].value
        costs.setdefault("open the plan", []).append(measure(open_plan, output))
        done: int = measure(label_all_but, output, LEFT).value
        for name, step in (
            ("reconcile", reconcile),
            ("last count", count_outcomes),
            ("search for doubles", remove_doubles),
            ("Ray's checkpoint filter", sort_as_ray),
        ):
            costs.setdefault(name, []).append(measure(step, folders))
            print(n, name, costs[name][-1], flush=True)
        plan_mb, checkpoint_mb = (disk_bytes(folder) / MB for folder in (folders.plan, folders.checkpoint))
        files = len(list(Path(folders.labels).iterdir()))
        facts.append(
            f"| {n:,} | {summary.hours:,.0f} | {summary.spans:,} | {plan_mb:,.1f} | {MB * plan_mb / summary.spans:.1f} "
            f"| {files:,} | {checkpoint_mb:,.1f} | {MB * checkpoint_mb / done:.1f} |"
        )
        shutil.rmtree(output)
    rows = []
    for name, of_step in costs.items():
        cells = [f"{one.seconds:,.2f} / {one.cpu_s:,.2f} / {max(0, one.driver - base) / MB:,.0f}" for one in of_step]
        rows.append(f"| {name} | {' | '.join(cells)} | {growth(of_step, sizes)} |")
    filter_bytes = costs["Ray's checkpoint filter"][-1].value / done
    real = DATA / "talking_heads"
    return f"""{heading(facts)}

Seconds / CPU seconds / MB that the driver took above its imports ({base / MB:,.0f} MB), each step in its own process:

| step | {" | ".join(f"{n:,}" for n in sizes)} | exponent of CPU time |
|---|{"--:|" * len(sizes)}--:|
{chr(10).join(rows)}

{probe_text(str(real)) if real.is_dir() else "No real recordings at LISER_TEST_DATA: headers were not read."}

- "Plan" is `make_plan` over a listing and headers that are generated: what it costs beside the reading of headers.
- Labels and checkpoint are as a job leaves them with {LEFT:,} spans to go, in files of {ROWS_PER_FILE} rows; the labels
  have all columns, but empty ones where nothing is counted.
- "Ray's checkpoint filter" is what a task of Ray Data does when a job is started again: it makes a sorted array of the
  ids in the checkpoint, which every actor of the filter then holds: {filter_bytes:.0f} bytes per id by Ray's own count.
- The exponent is that between the last two sizes: 1 is linear.
"""


def heading(facts: Sequence[str]) -> str:
    """The table of what was generated."""
    return "\n".join(
        [
            "| recordings | hours | spans | plan, MB | bytes/span | label files | checkpoint, MB | bytes/span |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|",
            *facts,
        ]
    )


def probe_text(folder: str) -> str:
    """How fast real headers are read."""
    cost = measure(probe_real, folder, N_PROBES)
    n, n_bytes, seconds = cost.value
    return (
        f"Real headers: {N_PROBES} reads of {n} recordings on the local disk took {cost.seconds:.1f} s on "
        f"{os.cpu_count()} cores, {N_PROBES / cost.seconds:.0f} per second.\nThese recordings have "
        f"{n_bytes / seconds / 1000:.0f} kB per second of video."
    )


def ray_text(sizes: Sequence[int], pipeline_sizes: Sequence[int], temporary: Path) -> str:
    """What Ray Data does, as text."""
    rows, large = [], []
    for n in pipeline_sizes:
        output = str(temporary / f"pipeline-{n}")
        folders = folders_of(output)
        summary = plan_generated(n, output)

        killed = watch(run_generated, output, kill_when=partial(half_committed, folders))
        done = measure(reconcile, folders).value
        resumed = watch(run_generated, output)
        outcomes, different = measure(count_outcomes, folders).value
        assert summary.spans == different == sum(outcomes.values())
        rows.append(
            f"| {summary.spans:,} | {done:,} | {killed.seconds:,.0f} | {resumed.seconds:,.0f} "
            f"| {(summary.spans - done) / resumed.seconds:,.0f} "
            f"| {resumed.driver / MB:,.0f} | {resumed.together / MB:,.0f} |"
        )
        print(rows[-1], flush=True)
    for n in sizes:
        output = str(temporary / f"{n}")
        spans = plan_generated(n, output).spans
        done = label_all_but(output, LEFT)
        cost = watch(run_generated, output)
        outcomes, different = measure(count_outcomes, folders_of(output)).value
        assert spans == different == sum(outcomes.values())
        large.append(
            f"| {n:,} | {done:,} | {cost.seconds:,.0f} | {cost.cpu_s:,.0f} | {cost.driver / MB:,.0f} | "
            f"{cost.together / MB:,.0f} |"
        )
        print(large[-1], flush=True)
        shutil.rmtree(output)
    return f"""The pipeline with stages that do nothing, killed (SIGKILL of the driver) at half and started again:

| spans | committed when killed | s until then | s for the rest | spans/s of the rest | driver, MB | all processes, MB |
|--:|--:|--:|--:|--:|--:|--:|
{chr(10).join(rows)}

A job that is started again with {LEFT:,} spans to go:

| recordings | ids in the checkpoint | s | CPU s of the driver | driver, MB | all processes, MB |
|--:|--:|--:|--:|--:|--:|
{chr(10).join(large)}

- Seconds contain the start of Python, Ray and its workers.
- After each resume the rows were counted: every planned span once.
- "All processes" is the driver, Ray's and the workers' together, shared memory (the object store) counted once.
"""


def half_committed(folders: OutputFolders) -> bool:
    """Whether half of the 32 files of a small job are committed."""
    return len([path for path in Path(folders.checkpoint).glob("*.parquet") if "pending" not in path.name]) >= 16


def open_plan(output: str) -> str:
    """The plan of a job that goes on, and what is said of it."""
    summary = load_plan_summary(output)
    assert summary is not None
    return describe_plan(summary)


def sort_as_ray(folders: OutputFolders) -> int:
    """The bytes of the sorted ids that Ray Data's filter holds, by its own count; its own code, in this process."""
    ids = pads.dataset(folders.checkpoint, format="parquet").to_table([ID_COLUMN])
    _, n_bytes = convert_and_sort_checkpointed_ids._function(ids, ID_COLUMN)
    return int(n_bytes)


def disk_bytes(folder: str) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).iterdir())


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("driver", "ray"))
    parser.add_argument("--recordings", type=int, nargs="*", help="sizes of the corpora")
    parser.add_argument("--pipeline_recordings", type=int, nargs="*", default=PIPELINE_RECORDINGS)
    parser.add_argument("--result", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    name = "million_recordings" if options.part == "driver" else "million_recordings_ray"
    result = options.result or (RESULTS / f"{name}.md" if options.recordings is None else None)
    sizes = RECORDINGS[options.part] if options.recordings is None else options.recordings
    with tempfile.TemporaryDirectory(prefix="million_recordings-") as temporary:
        folder = Path(temporary)
        if options.part == "driver":
            body = driver_text(sizes, folder)
        else:
            body = ray_text(sizes, options.pipeline_recordings, folder)
    where = describe_busy(("ray", "pyarrow"))
    text = f"""# A million recordings{", on Ray" if options.part == "ray" else ", in the driver"}

Made by `{" ".join(["python benchmarks/million_recordings.py", *arguments])}`.

{body}
Machine: {where}
"""
    print(text)
    if result:
        write_whole(result, text)


if __name__ == "__main__":
    main(sys.argv[1:])
