"""``liser-ray predict``: what a student says of recordings, as a table, CSV, JSON or pictures."""

import argparse
import itertools
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liser_ray.commands.files import check_destination, find_inputs, write_file
from liser_ray.commands.model import add_classes_argument, add_model_arguments, load_student
from liser_ray.commands.output import Output
from liser_ray.media.waveform import WaveformError
from liser_ray.prediction.pieces import step_samples
from liser_ray.prediction.prediction import Prediction, kept_labels
from liser_ray.prediction.student import Listen, Student
from liser_ray.runtime.display import Counting
from liser_ray.runtime.errors import UserError

if TYPE_CHECKING:
    from liser_ray.prediction.plot import Overview

EXIT_SOME_FAILED = 3
_SHOWN_EVERY_S = 0.2
_OTHER_PICTURES = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".pdf")

DESCRIPTION = """\
Name the emotion in recordings of speech with a trained student.

  liser-ray predict speech.wav more/*.flac talk.mp4      sound and video in any format; folders and globs as well
  liser-ray predict --timeline interview.mp3              every 0.1 s: the 3 s from there on
  liser-ray predict --json s3://lab/calls/ > calls.jsonl  one JSON object for each recording
  liser-ray predict --plot out.png speech.wav             waveform, spectrogram and emotions over time
  arecord -f S16_LE -r 16000 -d 10 | liser-ray predict -  standard input, to its end
  liser-ray predict --onnx student.onnx speech.wav        with onnxruntime alone (see liser-ray export)

A recording's probabilities are of the mean over its 3-s windows; a student with chunks answers what they cover as a
whole. What can't be used is named with its reason, the others are still done, and the exit code is then 3.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recording, folder, glob, s3://…, or - for stdin")
    add_model_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="one JSON object a line")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="with all probabilities")
    parser.add_argument("--timeline", action="store_true", help="a line for each 3-s window too")
    parser.add_argument(
        "--step_s", type=float, default=0.1, metavar="S", help="from window to window, a multiple of 0.1 (default: 0.1)"
    )
    add_classes_argument(parser)
    parser.add_argument(
        "--abstain_below",
        type=float,
        default=0.0,
        metavar="P",
        help='say "unsure" where no label has this probability, and of recordings that are unlike the training',
    )
    parser.add_argument(
        "--plot", default="", metavar="PNG", help="draw a picture; a folder for several recordings; both may be s3://…"
    )
    parser.set_defaults(form="text")


def run(options: argparse.Namespace) -> int:
    """Predict all recordings; the exit code, or `UserError` if an option is wrong."""
    step_samples(options.step_s)
    if not 0 <= options.abstain_below <= 1:
        raise UserError(f"--abstain_below {options.abstain_below}: give a probability from 0 to 1.")
    student = load_student(options)
    labels = tuple(student.labels[i] for i in kept_labels(student.labels, options.classes))
    if options.plot and len(labels) < 2:
        raise UserError("--plot draws how probable labels are, and this student says numbers alone: leave it out.")
    inputs = list(find_inputs(options.files))
    pictures = _Pictures(options.plot, len(inputs), student) if options.plot else None
    widest = max(len(one.uri) for one in inputs)
    attributes = student.card.attributes
    output = Output(options.form, labels, attributes, widest, options.timeline, options.abstain_below)
    n_failed = 0
    with Counting("recordings", len(inputs)) as counting:
        for one in inputs:
            overview = pictures.overview() if pictures else None
            try:
                if one.problem:
                    raise WaveformError(one.problem)
                listen = _listener(counting, Path(one.uri).name, overview)
                prediction = student.predict_file(one.uri, options.step_s, options.classes, listen)
                output.add(one.uri, prediction)
                if pictures is not None and overview is not None:
                    pictures.draw(overview, prediction, one.uri)
            except WaveformError as error:
                n_failed += 1
                output.fail(one.uri, str(error))
            counting.advance()
    if n_failed:
        print(f"{n_failed} of {len(inputs)} recordings could not be used.", file=sys.stderr)
    return EXIT_SOME_FAILED if n_failed else 0


def _listener(counting: Counting, name: str, overview: "Overview | None") -> Listen:
    """The sound moves the display, and goes into the picture."""
    shown = time.monotonic()

    def listen(sound: np.ndarray, share: float) -> None:
        nonlocal shown
        if time.monotonic() - shown > _SHOWN_EVERY_S:
            shown = time.monotonic()
            counting.show(counting.done, f"{name} {share:.0%}")
        if overview is not None:
            overview.add(sound)

    return listen


class _Pictures:
    """Where the pictures of the predictions go: to a ``.png`` for one recording, a folder for several.

    Raises:
        UserError: one file for several recordings or of another format, Matplotlib is not installed, or an address that
            can't be written to.
    """

    def __init__(self, target: str, n_recordings: int, student: Student):
        try:
            from liser_ray.prediction import plot  # Matplotlib, for those who draw
        except ModuleNotFoundError as error:
            raise UserError("--plot needs Matplotlib: pip install matplotlib") from error
        if target.lower().endswith(_OTHER_PICTURES):
            raise UserError(f"--plot {target}: pictures are PNG; give a file whose name ends in .png, or a folder.")
        is_file = target.lower().endswith(".png")
        if is_file and n_recordings > 1:
            raise UserError(f"--plot {target} is one picture, and there are {n_recordings} recordings: give a folder.")
        check_destination(target, is_folder=not is_file)
        self._target, self._is_file, self._plot = target, is_file, plot
        self._taken: set[str] = set()
        self.overview = partial(plot.Overview, student.backend)

    def draw(self, overview: "Overview", prediction: Prediction, uri: str) -> None:
        """Draw what was heard and predicted."""
        path = self._target
        if not self._is_file:
            stem = "stdin" if uri == "-" else Path(uri).stem
            ends = itertools.chain([""], (f"-{count}" for count in itertools.count(2)))
            paths = (os.path.join(self._target, f"{stem}{end}.png") for end in ends)
            path = next(path for path in paths if path not in self._taken)
        self._taken.add(path)
        write_file(path, self._plot.prediction_plot(overview, prediction, Path(uri).name))
