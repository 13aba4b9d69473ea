"""Students per minute in a search: one after another, side by side in processes, and together as a population.

`python benchmarks/population.py` takes RAVDESS if LISER_TEST_DATA (a folder with ravdess/) is set, else tones, and the
grid's settings on fold 0; it prints a table and writes it to benchmarks/results/population.md. --device cuda for a GPU
(population_cuda.md), --quick tries the script out.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import torch
from machine import describe, write_whole
from small_labels import speech_teacher, write_labels
from student_training import QUICK_RECORDINGS, SHARED, make_tones, wait

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.search.config import SearchConfig
from liser_ray.search.space import grid, parse_space, with_setting
from liser_ray.search.trial import Place
from liser_ray.student.population.training import Population
from liser_ray.student.training.config import RunJob, StudentConfig, TrainConfig
from liser_ray.student.training.job import check, make_inputs
from liser_ray.student.training.run import ProcessGroup
from liser_ray.training.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results"
N_UNLABELED = 200
SIZES = {"cpu": (2, 5, 25), "cuda": (5, 25, 100)}


def write_unlabeled(folder: Path, labeled_address: str) -> str:
    """A labels table of noise for every fold."""
    labeled = read_labeled_set(labeled_address)
    teachers = [
        speech_teacher(f"fold_{fold.index}", labeled.labels, fold.index, sorted(fold.train), labeled.name)
        for fold in folds_of(labeled)
    ]
    write_labels(
        folder, rows=N_UNLABELED, teachers=teachers, statuses=(1, 0, 0), lengths_s=(3.0, 6.0), rows_per_group=50
    )
    return str(folder)


_place: Any = None  # of this process
_students: list[Any] = []


def set_up(config: StudentConfig, device: str, threads: int) -> None:
    """Make a process the home of one way to train."""
    global _place
    torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()
    _place = Place(make_inputs(config, check(config)), ProcessGroup(torch.device(device)))


def prepare(config: StudentConfig, n: int, together: bool) -> str:
    """Students of the paper's grid, further seeds of it if there are not enough; and a line about the machine."""
    settings = grid(parse_space(SearchConfig().default_space))
    jobs = [RunJob(with_setting(config, settings[i % len(settings)]), "", 0, i // len(settings), "") for i in range(n)]
    trainings = [_place.training(job) for job in jobs]
    _students[:] = [Population(trainings)] if together else trainings
    return describe(("torch",), f"{torch.get_num_threads()} threads")


def train_epoch() -> float:
    """Seconds of an epoch of all students that were prepared, validation included."""
    wait()
    started = time.perf_counter()
    for student in _students:
        student.run_epoch()
    wait()
    return time.perf_counter() - started


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3, help="of one epoch each, by turns")
    parser.add_argument("--quick", action="store_true", help="try the script out; the figures mean nothing")
    options = parser.parse_args(arguments)
    real = Path(os.environ.get("LISER_TEST_DATA", SHARED / "data")) / "ravdess"
    use_real = real.is_dir() and not options.quick
    sizes = SIZES.get(options.device, SIZES["cpu"])[: 1 if options.quick else None]
    n_rounds = 1 if options.quick else options.rounds
    n_cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        address = f"ravdess:{real}" if use_real else make_tones(Path(temporary), QUICK_RECORDINGS)
        labels = write_unlabeled(Path(temporary, "labels"), address)
        config = StudentConfig(address, labels, train=TrainConfig(), folds="0")
        config = replace(config, recipe="conf-vid-sp-dstl")

        def start(threads: int) -> ProcessPoolExecutor:
            pool = ProcessPoolExecutor(1, get_context("spawn"), set_up, (config, options.device, threads))
            return stack.enter_context(pool)

        n_beside = n_cores if options.device == "cpu" else 4
        ways: dict[str, tuple[list[ProcessPoolExecutor], int, bool]] = {
            "one after another": ([start(n_cores)], 2, False),
            f"{n_beside} processes side by side": ([start(1) for _ in range(n_beside)], 2, False),
        }
        for size in sizes:
            ways[f"a population of {size}"] = ([start(n_cores)], size, True)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        where = ""
        for number in range(-1, n_rounds):  # the first one warms up
            for name, (processes, n, together) in ways.items():
                if number < 0:
                    described = [one.submit(prepare, config, n, together).result() for one in processes]
                    where = where or described[0]
                started = time.perf_counter()
                for future in [one.submit(train_epoch) for one in processes]:
                    future.result()
                if number >= 0:
                    seconds[name].append(time.perf_counter() - started)
    rates = {
        name: 60 * len(processes) * n / statistics.median(seconds[name]) for name, (processes, n, _) in ways.items()
    }
    base = rates["one after another"]
    lines = [
        "| | epochs of a student per minute | settings × folds per minute, 50 epochs | ratio |",
        "|---|--:|--:|--:|",
    ]
    lines += [f"| {name} | {rate:.1f} | {rate / 50:.2f} | {rate / base:.2f} |" for name, rate in rates.items()]
    table = "\n".join(lines)
    if options.quick:
        print(table)
        return
    text = f"""# Students per minute in a λ search

Made by `{" ".join(["python benchmarks/population.py", *arguments])}` on {"RAVDESS" if use_real else "tones"}, fold 0,
and {N_UNLABELED} unlabeled rows of noise; the paper's recipe (conf-vid-sp-dstl, batches of 25) with λs of its grid;
epochs with validation, the median of {n_rounds} by turns after one to warm up.

{table}

- "One after another" and a population are one process with all cores, or the GPU. Side by side is how trials run on
  Ray Tune: a process per core with one thread each, or four that share the GPU.
- A student of a population has the same scores as one that is trained alone (tests/student/population).

Machine: {where}
"""
    print(text)
    write_whole(RESULTS / f"population{'' if options.device == 'cpu' else '_cuda'}.md", text)


if __name__ == "__main__":
    main(sys.argv[1:])
