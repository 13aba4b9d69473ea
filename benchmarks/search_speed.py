"""Trials per minute of the search for λ, on a GPU where there is one: the paper's grid, two folds, few epochs.

`python benchmarks/search_speed.py` makes tones and a labels table, prints what it took and writes
benchmarks/results/search_speed.md and .json; `--quick` tries the script out.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from machine import add_writing, describe, results_folder, write_json, write_whole

from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.student.training.config import TrainConfig

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from tone_files import write_tone_labels, write_tones

TAKES, ROWS, EPOCHS = 60, 720, 2  # 1,440 tones by eight speakers, as many as RAVDESS has recordings of speech
QUICK_SPACE = ["loss.lambdas.speech=0.1,1", "loss.lambdas.face=1"]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_writing(parser)
    options = parser.parse_args(arguments)
    os.environ["RAY_ADDRESS"] = "local"
    with tempfile.TemporaryDirectory(prefix="search_speed-") as name:
        folder = Path(name)
        tones = write_tones(folder, takes=1 if options.quick else TAKES)
        config = SearchConfig(
            labeled=[tones],
            unlabeled=write_tone_labels(folder / "labels", tones, rows=12 if options.quick else ROWS),
            output=str(folder / "search"),
            space=QUICK_SPACE if options.quick else [],
            train=TrainConfig(epochs=1 if options.quick else EPOCHS),
        )
        started = time.perf_counter()
        result = search(config)
        wall_s = time.perf_counter() - started
    if failed := [one for one in result.results if one.status != "done"]:
        raise RuntimeError(f"a setting went wrong: {failed[0].problem}")
    first_s = min(one.ended_s for one in result.results)
    last_s = max(one.ended_s for one in result.results)
    trained_s = sum(run["seconds"] for one in result.results for run in one.runs)
    n_settings, n_runs = len(result.results), sum(len(one.runs) for one in result.results)
    figures = {
        "settings": (float(n_settings), "settings"),
        "students": (float(n_runs), "students"),
        "whole search": (wall_s, "s"),
        "settings, whole search": (60 * n_settings / wall_s, "settings/min"),
        "settings, from the first that ended": (60 * (n_settings - 1) / max(1e-9, last_s - first_s), "settings/min"),
        "training alone, all students": (trained_s, "s"),
    }
    rows = "\n".join(f"| {name} | {value:.3g} | {unit} |" for name, (value, unit) in figures.items())
    command = " ".join(["python benchmarks/search_speed.py", *arguments])
    machine = describe(("ray", "torch"), f"{torch.cuda.device_count()} GPUs")
    text = f"""# The search for λ

Made by `{command}`: {config.recipe} on generated tones, {config.train.epochs} epochs.

| figure | value | unit |
| --- | ---: | --- |
{rows}

- A setting is one trial, with a student for each of two folds; the whole search has Ray's start and the imports of its
  processes in it.

Machine: {machine}
"""
    print(text)
    if results := results_folder(options):
        write_whole(results / "search_speed.md", text)
        write_json(results / "search_speed.json", command, machine, figures)


if __name__ == "__main__":
    main(sys.argv[1:])
