"""The demo's two teachers: small networks of the real architectures, fitted to voices and faces like the corpus's.

They are fitted to speakers of their own, so nobody in the corpus is known to them, and their labels of it can be
scored: the speech teacher on all of `audio/`, the video teacher on the talking heads whose emotion the manifest has.
"""

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
import torch

from liser_ray.demo.emotions import EMOTIONS, VIDEO_LABELS, video_label
from liser_ray.demo.folders import made_before, new_folder
from liser_ray.demo.speech_fit import fit_speech_teacher
from liser_ray.demo.video_fit import fit_video_teacher
from liser_ray.media.faces import FaceConfig, find_faces
from liser_ray.media.reader import Reader
from liser_ray.teachers.speech import load_speech_teachers, speech_windows
from liser_ray.teachers.video import VideoTeacherConfig, load_video_teacher

RECIPE = 1  # counts up when the same seed gives other teachers
_SCORED_WINDOWS = 2  # per talking head: a window takes S2D a third of a second


@dataclass(frozen=True)
class DemoTeachers:
    """Where the teachers are."""

    speech: Path  # a Transformers folder
    video_weights: Path
    landmark_weights: Path


@dataclass(frozen=True)
class FitSize:
    """How much to fit; the defaults are the demo's."""

    speech_speakers: int = 48
    speech_epochs: int = 10
    video_speakers: int = 40
    video_epochs: int = 4


def fit_teachers(corpus: Path, output: Path, seed: int = 0, size: FitSize | None = None) -> DemoTeachers:
    """Fit and score both teachers, or do nothing if they are there already.

    The landmark network is random, with fixed weights: there is no pretrained one without a download.

    Args:
        corpus: of `make_corpus`; only scored on, never learned from.
        output: folder to make; appears whole or not at all. If it exists it must be empty or the demo's.
        seed: of everything random.
        size: how much; None: the demo's.

    Raises:
        UserError: if the output folder holds something else.
    """
    size = size or FitSize()
    recipe = {"teachers": RECIPE, "seed": seed, **asdict(size)}
    if not made_before(output, recipe):
        with new_folder(output, recipe) as unfinished, _one_thread():
            made = _paths(unfinished)
            # Beside each other, each on one thread: PyTorch's threads wait for one another in a loop, and on a busy
            # machine that made a step a hundred times slower. It also gives the same weights whatever the core count.
            with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
                speech = pool.submit(fit_speech_teacher, made.speech, seed, size.speech_speakers, size.speech_epochs)
                fit_video_teacher(
                    made.video_weights, made.landmark_weights, seed, size.video_speakers, size.video_epochs
                )
                speech.result()
            scores = {"speech": score_speech(made, corpus), "video": score_video(made, corpus)}
            (unfinished / "scores.json").write_text(json.dumps(scores, indent=1))
            for name, (uar, n_windows) in scores.items():
                print(f"{name} teacher: UAR {uar:.2f} on {n_windows} windows of unknown speakers (chance 0.20)")
    return _paths(output)


def score_speech(teachers: DemoTeachers, corpus: Path) -> tuple[float, int]:
    """UAR over the 0.5-s windows of the labeled utterances, and how many windows there are."""
    loaded = load_speech_teachers([f"speech={teachers.speech}"])
    truth, found = [], []
    with (corpus / "audio/labels.csv").open() as file:
        for row in csv.DictReader(file):
            pcm, _ = soundfile.read(corpus / "audio" / row["path"], dtype="int16")
            softmax = loaded(speech_windows(pcm)[0])["speech"]
            found += softmax.argmax(1).tolist()
            truth += [EMOTIONS.index(row["label"])] * len(softmax)
    return recall(truth, found), len(truth)


def score_video(teachers: DemoTeachers, corpus: Path) -> tuple[float, int]:
    """UAR over the first windows of the talking heads, and how many windows there are."""
    teacher = load_video_teacher(
        VideoTeacherConfig(weights=str(teachers.video_weights), landmark_weights=str(teachers.landmark_weights))
    )
    truth, found = [], []
    with (corpus / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            if not row["emotion"]:
                continue
            with Reader(str(corpus / row["uri"])) as reader:
                n_cells = 16 * _SCORED_WINDOWS
                frames = reader.span(0.0, n_cells / 30)
                faces = find_faces(frames, frames.n_cells, FaceConfig("opencv"))
            softmax = teacher(faces.clips[faces.video_valid > 0.5])
            found += softmax.argmax(1).tolist()
            truth += [VIDEO_LABELS.index(video_label(row["emotion"]))] * len(softmax)
    return recall(truth, found), len(truth)


def recall(truth: list[int], found: list[int]) -> float:
    """UAR: the mean of the recalls of the classes that occur, 0..1."""
    true, predicted = np.array(truth), np.array(found)
    return float(np.mean([(predicted[true == label] == label).mean() for label in np.unique(true)]))


def _paths(folder: Path) -> DemoTeachers:
    return DemoTeachers(folder / "speech", folder / "s2d.safetensors", folder / "landmarks.safetensors")


@contextmanager
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
