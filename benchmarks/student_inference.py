"""How fast and how large is a trained student? Beside the plain loop over its windows, and beside HuBERT base.

`python benchmarks/student_inference.py --student out/student/seed-0-fold-0` measures a trained student (without one,
random weights of the same shapes, which cost the same but say nothing about 8 bits) on speech of RAVDESS, or on noise
where there is none, and writes benchmarks/results/student_inference.md and the costs into docs/predict.md. --quick
tries it out.
"""

import argparse
import math
import os
import re
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torchaudio
from machine import DATA, RESULTS, add_writing, describe, results_folder, write_whole
from plain_student import Network
from torch.nn.utils.parametrize import remove_parametrizations
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertForSequenceClassification

from liser_ray.corpora.speech import read_waveform
from liser_ray.prediction.backend import OnnxBackend
from liser_ray.prediction.student import Student
from liser_ray.prediction.torch_backend import TorchBackend
from liser_ray.results.tables import write_between_markers
from liser_ray.student.card import WEIGHTS_FILE
from liser_ray.student.front_end import SEGMENT_FRAMES, SEGMENT_S, window_count

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from small_students import write_student

PAGE = Path(__file__).resolve().parents[1] / "docs" / "predict.md"
N_LABELS = 8
SECONDS = 60
TURNS = 7
N_CALIBRATION = 100
N_COMPARED = 200


class PlainLoop:
    """A window at a time through the network as the paper lists it, as any tutorial would have it."""

    def __init__(self, weights: bytes):
        self.mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=2048, hop_length=512, n_mels=64)
        self.network = Network(N_LABELS)
        # The convolutions' blocks of four layers come one after the other there.
        tensors = {
            re.sub(r"(?<=convolutions\.)(\d)\.(\d)", lambda at: str(4 * int(at[1]) + int(at[2])), name): tensor
            for name, tensor in safetensors.torch.load(weights).items()
        }
        self.network.load_state_dict(tensors)
        self.network.eval()

    @torch.inference_mode()
    def window_logits(self, samples: np.ndarray, step_samples: int, statistics: np.ndarray | None) -> np.ndarray:
        waveform = torch.from_numpy(samples)
        logits = []
        for start in range(0, len(waveform) - 48_000 + 1, step_samples):
            window = waveform[start : start + 48_000]
            logits.append(self.network(self.mel(window).clamp(min=1e-6).log()[None]))
        return torch.cat(logits).numpy()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--student", default="", help="folder of a trained one with the paper's network")
    add_writing(parser)
    options = parser.parse_args(arguments)
    n_seconds, n_turns = (5, 1) if options.quick else (SECONDS, TURNS)
    speech = load_speech(12 if options.quick else N_CALIBRATION + N_COMPARED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.student) if options.student else write_student(Path(temporary))
        student = Student.from_pretrained(folder)
        weights = (folder / WEIGHTS_FILE).read_bytes()
    calibration = speech[: len(speech) // 3]
    models = {"ONNX": student.export_onnx(), "ONNX, 8 bits": student.export_onnx(calibration)}
    long = np.resize(np.concatenate(speech), n_seconds * 16_000)

    ways: dict[str, Callable[[int], object]] = {
        "plain loop": lambda n: PlainLoop(weights),
        "PyTorch": lambda n: TorchBackend(weights, student.card),
        "ONNX": lambda n: OnnxBackend(models["ONNX"], "", n),
        "ONNX, 8 bits": lambda n: OnnxBackend(models["ONNX, 8 bits"], "", n),
    }
    cores = os.cpu_count() or 1
    seconds = {n: by_turns(ways, n, long, n_turns) for n in sorted({1, cores})}
    costs = models_table(student, {"PyTorch": weights, **models}, seconds[1], n_turns, long)
    text = f"""# The student at work

Made by `{" ".join(["python benchmarks/student_inference.py", *arguments])}`.

## A recording's windows, one every 0.1 s

{windows_table(seconds, long)}

- The plain loop takes a window at a time through torchaudio's spectrogram and the network in the paper's order.
- In PyTorch the frames of all windows are computed once, on a grid of 4 ms, which changes nothing
  (`student/features.py`), batch norm is part of the convolutions, weights are channels-last.
- The ways took turns, {n_turns} times; medians. "Times real time" is seconds of sound per second.
- {sharing_text(seconds)}

## Size and cost beside HuBERT base

{costs}

- HuBERT base has random weights here; its cost is that of trained ones. Its 3 s are one input, in float32, in PyTorch.
- Parameters and MACs are of the network for prediction. The spectrogram's transform is not counted, as everywhere.
- Real-time factor: seconds of one core per second of sound, with an answer every 3 s, and with one every 0.1 s as
  `predict` gives them, in batches (HuBERT: as many single windows).

## What is lost on the way

{differences_table(student, models, speech[len(speech) // 3 :])}

Machine: {describe(("torch", "onnxruntime", "transformers"))}
"""
    print(text)
    if results := results_folder(options):
        write_whole(results / "student_inference.md", text)
        if results == RESULTS:
            PAGE.write_text(write_between_markers(PAGE.read_text(), "student-inference", costs))


def load_speech(count: int) -> list[np.ndarray]:
    """Recordings of RAVDESS, of all speakers by turns; noise where there are none."""
    files = sorted((DATA / "ravdess").glob("*/*"))
    if files:
        chosen = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:count]]
        return [read_waveform(str(file)).astype(np.float32) / 32768 for file in chosen]
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(50_000)).astype(np.float32) for _ in range(count)]


def by_turns(
    ways: dict[str, Callable[[int], object]], n_threads: int, samples: np.ndarray, n_turns: int
) -> dict[str, list[float]]:
    """Seconds of each way over the whole recording, each turn."""
    torch.set_num_threads(n_threads)
    made = {name: make(n_threads) for name, make in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    block = 48_000 + 127 * 1600
    for turn in range(-1, n_turns):  # the first one warms up
        for name, classifier in made.items():
            start = time.perf_counter()
            for first in range(0, len(samples) - 48_000 + 1, 128 * 1600):
                classifier.window_logits(samples[first : first + block], 1600, None)  # type: ignore[attr-defined]
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def windows_table(seconds: dict[int, dict[str, list[float]]], samples: np.ndarray) -> str:
    n_windows = window_count(len(samples))
    rows = ["| | cores | ms a window | times real time | times the plain loop |", "|---|--:|--:|--:|--:|"]
    for n_cores, ways in seconds.items():
        for name, found in ways.items():
            ratio = statistics.median(plain / own for plain, own in zip(ways["plain loop"], found, strict=True))
            middle = statistics.median(found)
            speed = len(samples) / 16_000 / middle
            rows.append(f"| {name} | {n_cores} | {middle / n_windows * 1e3:.2f} | {speed:,.0f} | {ratio:.1f} |")
    return "\n".join(rows)


def models_table(
    student: Student, files: dict[str, bytes], seconds: dict[str, list[float]], n_turns: int, samples: np.ndarray
) -> str:
    torch.set_num_threads(1)
    window = samples[:48_000]
    parameters, macs = student.card.content["parameters"]["inference"], student_macs(len(student.labels))
    found: list[tuple[str, float, int, float, float, float]] = []
    for way, data in files.items():
        backend = TorchBackend(data, student.card) if way == "PyTorch" else OnnxBackend(data, "", 1)
        single_s = timed(lambda one=backend: one.window_logits(window, 1600, None), n_turns * 20)
        batched_s = statistics.median(seconds[way]) / window_count(len(samples))
        found.append((f"student, {way}", len(data), parameters, macs, single_s, batched_s))
    hubert = HubertForSequenceClassification(HubertConfig(num_labels=N_LABELS)).eval()
    remove_parametrizations(hubert.hubert.encoder.pos_conv_embed.conv, "weight")  # for training alone
    inputs = torch.from_numpy(window)[None]
    with torch.inference_mode():
        single_s = timed(lambda: hubert(inputs), n_turns)
        with FlopCounterMode(display=False) as counter:
            hubert(inputs)
    n_own = sum(one.numel() for one in hubert.parameters())
    found.append(("HuBERT base, PyTorch", 4 * n_own, n_own, counter.get_total_flops() / 2, single_s, single_s))
    rows = [
        "| | file, MB | parameters | MACs for 3 s | ms for 3 s, one core | real-time factor | every 0.1 s |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {name} | {size / 1e6:.2f} | {parameters:,} | {macs / 1e6:,.0f} M | {single_s * 1e3:.1f} "
            f"| {single_s / SEGMENT_S:.4f} | {batched_s / 0.1:.3f} |"
            for name, size, parameters, macs, single_s, batched_s in found
        ),
    ]
    return "\n".join(rows)


def student_macs(n_labels: int) -> int:
    """Multiplications of the network for 94 frames; those of LSTM and head are a fiftieth."""
    return sum(block_macs()) + 64 * n_labels


def block_macs() -> tuple[int, int, int, int]:
    """Of the three convolutions and the LSTM."""
    first = 64 * SEGMENT_FRAMES * 64 * 9
    second = 32 * (SEGMENT_FRAMES // 2) * 64 * 64 * 9
    third = 8 * (SEGMENT_FRAMES // 4) * 64 * 64 * 3
    lstm = SEGMENT_FRAMES // 4 * 4 * 64 * (128 + 64)
    return first, second, third, lstm


def sharing_text(seconds: dict[int, dict[str, list[float]]]) -> str:
    """What windows 0.1 s apart could share of the network's work at most, in words.

    Two windows share a block's maps where their starts lie whole steps of its input apart, 512 samples and, behind
    pools of two frames, 1024 and 2048. Each window's edges are its own: a convolution sees zeros beyond them. All work
    is taken to be as fast in small pieces, and to find the pieces costs nothing: a bound, not a forecast.
    """
    first, second, third, lstm = block_macs()
    new_1 = (math.lcm(1600, 512) // 512 + 2) / SEGMENT_FRAMES  # and a column at either edge
    new_2 = (math.lcm(1600, 1024) // 1024 + 4) / (SEGMENT_FRAMES // 2)  # two at either edge
    assert math.lcm(1600, 2048) > SEGMENT_S * 16_000  # so nothing of block 3, and the LSTM begins with each window
    times = sum(block_macs()) / (new_1 * first + new_2 * second + third + lstm)
    bounds = []
    for n_cores, ways in seconds.items():
        own = statistics.median(plain / ours for plain, ours in zip(ways["plain loop"], ways["PyTorch"], strict=True))
        bounds.append(f"{own * times:.1f} times the plain loop on {n_cores} core{'s' * (n_cores > 1)}")
    return (
        "Windows could share maps of the first two blocks too, exactly: those 0.8 s apart the first one's, those\n"
        f"  1.6 s apart the second one's. {1 - 1 / times:.0%} of the multiplications would go, if edges are all\n"
        f"  that is computed twice: at most {', '.join(bounds)}."
    )


def timed(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call."""
    call()
    return statistics.median(timeit.repeat(call, repeat=repeats, number=1))


def differences_table(student: Student, models: dict[str, bytes], speech: list[np.ndarray]) -> str:
    """How far the files' answers are from PyTorch's."""
    expected = np.stack([student.predict(one, 16_000).probabilities for one in speech])
    rows = [
        f"Of {len(speech)} recordings that the ranges of 8 bits were not fitted to:",
        "",
        "| | largest difference of a probability | mean difference | same answer |",
        "|---|--:|--:|--:|",
    ]
    for name, model in models.items():
        other = Student.from_onnx(model, name)
        found = np.stack([other.predict(one, 16_000).probabilities for one in speech])
        off = np.abs(found - expected)
        same = np.mean(found.argmax(axis=1) == expected.argmax(axis=1))
        rows.append(f"| {name} | {off.max():.1e} | {off.mean():.1e} | {same:.1%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
