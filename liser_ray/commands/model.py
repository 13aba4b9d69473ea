"""Which student a command uses."""

import argparse
import os
import sys
from pathlib import Path

from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError

VARIABLE = "LISER_STUDENT"
_FOLDERS = ("out/student", "out/demo/students/conf-vid-sp-dstl")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which student, and where it runs."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model",
        default="",
        metavar="STUDENT",
        help="folder of a student (or of several: one of all speakers, or the best by validation), .onnx file, "
        f"s3://…, or owner/name on the Hugging Face hub; default: {VARIABLE}, else {' or '.join(_FOLDERS)}",
    )
    model.add_argument("--onnx", default="", metavar="FILE", help="an .onnx file; needs neither PyTorch nor Ray")
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda (default: cpu); ONNX runs on the CPU")


def add_classes_argument(parser: argparse.ArgumentParser) -> None:
    """Which of its labels count."""
    parser.add_argument("--classes", default=[], type=_names, metavar="A,B", help="choose among these labels only")


def load_student(options: argparse.Namespace) -> Student:
    """The student that the options name."""
    source = options.onnx or options.model or os.environ.get(VARIABLE, "")
    source = source or next((folder for folder in _FOLDERS if Path(folder).is_dir()), "")
    if source and not (options.onnx or options.model or os.environ.get(VARIABLE)):
        toy = ", the demo's toy, which knows generated voices alone" * (source == _FOLDERS[1])
        print(f"Student: {source}{toy}. --model names another.", file=sys.stderr)
    if not source:
        raise UserError(
            f"No student given: name one with --model (or {VARIABLE}). jobs/train_student.py trains one, "
            "`make demo` a toy one."
        )
    if options.onnx and "://" not in source:
        source = os.path.abspath(source)  # never a name on the hub
    return Student.from_pretrained(source, options.device)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
