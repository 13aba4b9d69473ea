"""``liser-ray listen``: what a student says of what a microphone hears, while it hears it."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from liser_ray.commands.model import add_classes_argument, add_model_arguments, load_student
from liser_ray.commands.output import bar
from liser_ray.prediction.stream import Estimate
from liser_ray.runtime.errors import UserError

DESCRIPTION = """\
Name the emotion in what a microphone hears: the last 3 s, ten times a second, until Ctrl-C.

  liser-ray listen                            the system's microphone
  liser-ray listen --microphone 3             another one; `python -m sounddevice` lists them
  liser-ray listen --onnx student.onnx        with onnxruntime alone

On a terminal the line is written over; through a pipe there is one line for each estimate. Needs sounddevice
(pip install sounddevice) and the PortAudio library.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_model_arguments(parser)
    parser.add_argument("--microphone", default="", metavar="N", help="number or name of another input device")
    add_classes_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Listen until Ctrl-C."""
    student = load_student(options)
    chunks = _microphone(options.microphone)
    sample_rate_hz = int(next(chunks))
    stream = student.stream(sample_rate_hz, options.classes)
    width = max(map(len, stream.labels))
    try:
        for chunk in chunks:
            for estimate in stream.add(chunk):
                _show(estimate, width)
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            print()
    return 0


def _show(estimate: Estimate, width: int) -> None:
    probability = float(estimate.probabilities.max())
    names = len(estimate.probabilities) > 1  # without labels it gives attributes alone
    columns = [f"{estimate.end_s:7.1f} s", *([f"{estimate.label:<{width}}"] if names else [])]
    columns += [f"{name} {value:6.2f}" for name, value in estimate.attributes.items()]
    columns += [f"{probability:.2f} {bar(probability):<10}"] if names else []
    line = "  ".join(columns)
    if sys.stdout.isatty():
        print(f"\r{line}", end="", flush=True)
    else:
        print(line.rstrip(), flush=True)


def _microphone(device: str) -> Iterator[Any]:
    """The sample rate, then float32 [n] every 0.1 s."""
    try:
        import sounddevice
    except (ModuleNotFoundError, OSError) as error:  # OSError: no PortAudio
        raise UserError(
            f"A microphone needs sounddevice and PortAudio ({error}): pip install sounddevice, and on Debian or Ubuntu "
            "apt install libportaudio2."
        ) from error
    number = int(device) if device.isdecimal() else device or None
    try:
        rate_hz = int(sounddevice.query_devices(number, "input")["default_samplerate"])
        with sounddevice.InputStream(rate_hz, device=number, channels=1, dtype="float32") as microphone:
            yield rate_hz
            while True:
                chunk, _ = microphone.read(round(rate_hz * 0.1))
                yield np.asarray(chunk)[:, 0]
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"There is no such microphone ({error}); `python -m sounddevice` lists them.") from error
