"""``liser-ray export``: a student as an ONNX file."""

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from liser_ray.commands.files import check_destination, find_inputs, write_file
from liser_ray.commands.model import add_model_arguments, load_student
from liser_ray.media.waveform import WaveformError, check_audible
from liser_ray.prediction.sound import file_blocks, open_sound
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError
from liser_ray.student.front_end import SAMPLE_RATE_HZ, SEGMENT_SAMPLES

DESCRIPTION = """\
Write a student as one ONNX file: 16-kHz waveform in, probabilities out, with its front end and its labels inside.

  liser-ray export --model out/student/seed-0-fold-0 --output student.onnx
  liser-ray export --model out/student --output student-int8.onnx --int8 data/RAVDESS

The file runs with onnxruntime alone: `liser-ray predict --onnx student.onnx speech.wav`. With --int8 it is less than
half as large; that needs speech like what the student will hear, to see how large the numbers in it become.
"""

_CALIBRATION_RECORDINGS = 100  # about so many are taken, from all over those that are given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_model_arguments(parser)
    parser.add_argument("--output", default="student.onnx", metavar="FILE", help="or s3://…; default: student.onnx")
    parser.add_argument("--int8", nargs="+", default=[], metavar="SPEECH", help="recordings, folders, globs, s3://…")


def run(options: argparse.Namespace) -> int:
    """Write the file and say how it compares with PyTorch; `UserError` if it can't be written or calibrated."""
    output = options.output
    if not output.endswith(".onnx"):
        raise UserError(f"--output {output}: give a file whose name ends in .onnx.")
    check_destination(output)
    student = load_student(options)
    calibration = list(_first_windows(options.int8)) if options.int8 else []
    if options.int8 and not calibration:
        raise UserError(f"No recording in {' '.join(options.int8)} can be used; --int8 needs some speech.")
    model = student.export_onnx(calibration)
    write_file(output, model)
    exported = Student.from_onnx(model, output)
    kind = f"8-bit, calibrated with {len(calibration)} recordings" if calibration else "float32"
    labels = student.labels if len(student.labels) > 1 else ()  # without labels it gives attributes alone
    given = {"labels": labels, "attributes": student.card.attributes}
    words = "".join(f", {what} {', '.join(names)}" for what, names in given.items() if names)
    print(f"{output}: {len(model):,} bytes, {kind}{words}")
    noise = (0.1 * np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE_HZ)).astype(np.float32)
    sounds = calibration or [noise]
    ours, others = ([one.predict(sound, SAMPLE_RATE_HZ) for sound in sounds] for one in (student, exported))
    compared = []
    if labels:
        a, b = (np.stack([one.probabilities for one in found]) for found in (ours, others))
        same = (a.argmax(axis=1) == b.argmax(axis=1)).sum()
        compared.append(f"probabilities differ by at most {np.abs(a - b).max():.2g}")
        compared.append(f"{same} of {len(a)} answers agree")
    if student.card.attributes:
        a, b = (np.array([[*one.attributes.values()] for one in found]) for found in (ours, others))
        compared.append(f"attributes differ by at most {np.abs(a - b).max():.2g}")
    on = f"{len(sounds)} of these recordings" if calibration else "10 s of noise"
    print(f"Beside PyTorch on {on}: {', '.join(compared)}.")
    return 0


def _first_windows(names: list[str]) -> Iterator[np.ndarray]:
    """The first 3 s of recordings, float32 [n]; what can't be used is named."""
    found = list(find_inputs(names))
    every = max(1, len(found) // _CALIBRATION_RECORDINGS)
    for one in found[::every]:
        try:
            if one.problem:
                raise WaveformError(one.problem)
            window = np.zeros(0, np.float32)
            with open_sound(one.uri) as source:
                blocks = file_blocks(source)
                while len(window) < SEGMENT_SAMPLES and (block := next(blocks, None)) is not None:
                    window = np.concatenate([window, block])[:SEGMENT_SAMPLES]
            check_audible(len(window), float(np.abs(window).max()) * 32768)  # as decoding does, at a recording's end
        except WaveformError as error:
            print(f"Left out: {one.uri}: {error}", file=sys.stderr)
        else:
            yield window
