"""Recordings per second in the student's training, beside a plain DataLoader script (plain_student.py).

Run with LISER_TEST_DATA (a folder with ravdess/) set, or with --device cuda on a machine with a GPU; without real
recordings it makes tones. `python benchmarks/student_training.py` prints a table and writes it to
benchmarks/results/student_training.md (student_training_cuda.md on a GPU); --quick tries the script out.
"""

import argparse
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

import numpy as np
import soundfile
import torch
from machine import DATA, add_writing, describe, results_folder, write_json, write_whole
from plain_student import PlainTraining

from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.student.config import LossConfig
from liser_ray.student.data.mels import compute_log_mels, padded_frames
from liser_ray.student.network import StudentNetwork, count_parameters
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.task import Labeled, StudentTask
from liser_ray.training.fit import ProcessGroup, Training, fit_settings
from liser_ray.training.memory import keep_freed_memory
from liser_ray.training.precision import Precision, able_precision

RECORDINGS, QUICK_RECORDINGS = 1440, 50
"""Tones, as many as RAVDESS has recordings of speech."""
PLAIN = ("plain, loaders: 0", "plain, loaders: 2")
WAYS = (*PLAIN, "ours, float32", "ours")
"""The plain ones are in float32, ours is in the arithmetic that it has by default too."""


class Ours:
    """This package's training."""

    def __init__(self, address: str, device: torch.device, precision: Precision):
        speech, train, validation = fold_0(address)
        if device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(0)
        started = time.perf_counter()
        n_frames = int(padded_frames(np.diff(speech.ends, prepend=0)).sum())
        mels = compute_log_mels((speech.waveform(i) for i in range(len(speech))), n_frames, "none", device)
        self.setup_s = time.perf_counter() - started
        group, config = ProcessGroup(device), TrainConfig()
        self.precision = able_precision(device, precision)
        self.task = StudentTask(
            StudentNetwork(len(speech.labels), {}).to(device),
            Labeled(mels, speech, train),
            None,
            EvaluationSet(speech, validation, "none", device),
            config,
            LossConfig(),
            0,
            group,
        )
        settings = replace(fit_settings(config), validate_every=config.epochs)
        self.training = Training(self.task, settings, 0, group, self.precision)

    def train(self) -> None:
        self.training.run_epoch()

    def validate(self) -> None:
        self.task.validate(self.task.model, self.precision)

    def data_s(self) -> float:
        """Seconds of a training pass that go into making batches."""
        started = time.perf_counter()
        for _ in self.task.steps(1):
            wait()
        return time.perf_counter() - started


_way: Any = None  # of this process


def set_up(name: str, address: str, device: str) -> None:
    """Make a process the home of one way to train: what one does to memory and threads must not help the other."""
    global _way
    if name in PLAIN:
        speech, train, validation = fold_0(address)
        _way = PlainTraining(speech.uris, speech.label_index, train, validation, int(name.split()[-1]), device)
    else:
        _way = Ours(address, torch.device(device), "auto" if name == "ours" else "float32")


def run_epoch() -> tuple[float, float]:
    """Seconds of a pass over the training recordings, and of one over the validation recordings."""
    seconds = []
    for call in (_way.train, _way.validate):
        wait()
        started = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


def about_ours() -> tuple[float, float, int, str]:
    """Seconds of making batches and of the spectrograms, trained parameters, and the machine."""
    return (
        _way.data_s(),
        _way.setup_s,
        count_parameters(_way.task.model),
        describe(("torch",), f"{torch.get_num_threads()} threads; ours in {_way.precision}"),
    )


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def fold_0(address: str) -> tuple[LabeledSpeech, np.ndarray, np.ndarray]:
    """A set, and its recordings to learn from and to validate on."""
    labeled = read_labeled_set(address)
    fold = folds_of(labeled)[0]
    speech = load_labeled_speech(labeled)
    return speech, speech.of_speakers(fold.train), speech.of_speakers(fold.validation)


def make_tones(folder: Path, n: int) -> str:
    """A manifest of tones of 3 to 4 s by ten speakers."""
    rng = np.random.default_rng(0)
    lines = ["path,label,speaker"]
    for number in range(n):
        time_s = np.arange(int(rng.uniform(3, 4) * 16_000)) / 16_000
        tone = 0.2 * np.sin(2 * np.pi * 200 * (1 + number % 5) * time_s) + 0.01 * rng.standard_normal(len(time_s))
        soundfile.write(folder / f"{number}.flac", tone, 16_000)
        lines.append(f"{number}.flac,{number % 5},{number // 5 % 10}")
    (folder / "tones.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "tones.csv")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=4, help="of each, by turns")
    add_writing(parser)
    options = parser.parse_args(arguments)
    real = DATA / "ravdess"
    use_real = real.is_dir() and not options.quick
    n_epochs = 1 if options.quick else options.epochs
    n_tones = QUICK_RECORDINGS if options.quick else RECORDINGS
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        address = f"ravdess:{real}" if use_real else make_tones(Path(temporary), n_tones)
        _, train, validation = fold_0(address)
        spawn = get_context("spawn")
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, spawn, set_up, (name, address, options.device)))
            for name in WAYS
        }
        seconds = dict.fromkeys(WAYS, np.zeros(2))
        for epoch in range(-1, n_epochs):  # the first one warms up
            for name, process in processes.items():
                found = np.array(process.submit(run_epoch).result())
                seconds[name] = seconds[name] + (found if epoch >= 0 else 0)
        data_s, setup_s, n_parameters, where = processes["ours"].submit(about_ours).result()

    lines = ["| | training, recordings/s | whole epoch with validation, recordings/s |", "|---|--:|--:|"]
    rates: dict[str, tuple[float, float]] = {}
    n_heard = len(train) * n_epochs
    for name, (training_s, validation_s) in seconds.items():
        rates[name] = n_heard / training_s, n_heard / (training_s + validation_s)
        lines.append(f"| {name} | {rates[name][0]:.0f} | {rates[name][1]:.0f} |")
    best = [max(rates[name][way] for name in PLAIN) for way in (0, 1)]
    for name in WAYS[len(PLAIN) :]:
        ratios = [rates[name][way] / best[way] for way in (0, 1)]
        lines.append(f"| **{name}, to the faster plain one** | **{ratios[0]:.1f}** | **{ratios[1]:.1f}** |")
    table = "\n".join(lines)
    device = torch.device(options.device)
    command = " ".join(["python benchmarks/student_training.py", *arguments])
    text = f"""# Recordings per second in the student's training

Made by `{command}` on {"RAVDESS" if use_real else "tones"},
fold 0: {len(train):,} recordings to learn from, {len(validation)} to validate on, {n_epochs} epochs each, by turns,
after one to warm up; no-dstl, {n_parameters:,} parameters, batches of 25; the plain ways are in float32.

{table}

- Seconds of a training pass: {"; ".join(f"{name} {one[0] / n_epochs:.3g}" for name, one in seconds.items())}.
- Of our training pass, {data_s * n_epochs / seconds["ours"][0]:.1%} of the time goes into making batches; the rest is
  the network and AdamW.
- Spectrograms of the set, once for all folds, epochs and seeds, are not in it: {setup_s:.1f} s.
- Each way has a process of its own with all cores; they take whole epochs by turns. Compare ratios, not rates.

Machine: {where}
"""
    print(text)
    if folder := results_folder(options):
        stem = "student_training" if device.type == "cpu" else f"student_training_{device.type}"
        write_whole(folder / f"{stem}.md", text)
        figures = {}
        for name, (training_s, validation_s) in seconds.items():
            figures[f"{name}, training"] = training_s / n_epochs, "s per epoch"
            figures[f"{name}, validation"] = validation_s / n_epochs, "s per epoch"
            figures[f"{name}, training rate"] = rates[name][0], "recordings/s"
        figures["ours, spectrograms of all recordings"] = setup_s, "s"
        figures["ours, making batches"] = data_s, "s per epoch"
        write_json(folder / f"{stem}.json", command, where, figures)


if __name__ == "__main__":
    main(sys.argv[1:])
