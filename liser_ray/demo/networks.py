"""The demo's networks: a pretrained speech model and a face teacher, small ones of the real architectures.

They are fitted to speakers of their own, so nobody in the corpus is known to them. The speech model has heard no label:
the speech teachers are made of it by the job that makes real ones, from the corpus's labeled speech.
"""

import csv
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from liser_ray.demo.face_teacher import fit_face_teacher
from liser_ray.demo.folders import make_once
from liser_ray.demo.people import FACE_LABELS, face_label
from liser_ray.demo.speech_base import pretrain_speech_base
from liser_ray.media.faces import FaceConfig, find_faces
from liser_ray.media.reader import Reader
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.teachers.kinds import read_teachers

RECIPE = 3  # counts up when the same seed gives other networks
_SCORED_WINDOWS = 2  # per talking head: a window takes S2D a third of a second


@dataclass(frozen=True)
class DemoNetworks:
    """Where the networks are."""

    speech_base: Path  # a Transformers folder without a head
    face: dict[str, str]  # settings of an S2D


@dataclass(frozen=True)
class FitSize:
    """How much to fit; the defaults are the demo's."""

    speech_speakers: int = 16
    speech_steps: int = 600
    face_speakers: int = 40
    face_epochs: int = 4


def fit_networks(corpus: Path, output: Path, seed: int = 0, size: FitSize | None = None) -> DemoNetworks:
    """Fit both networks and score the face teacher, or do nothing if they are there already.

    The corpus is only scored on, never learned from. The landmark network is random, with fixed weights: there is no
    pretrained one without a download. Without a size they are the demo's.

    Raises:
        UserError: if the output folder holds something else.
    """
    size = size or FitSize()

    def fill(unfinished: Path) -> None:
        _fit(_paths(unfinished), seed, size)
        score, n_windows = _score_face(_paths(unfinished).face, corpus)
        print(f"face teacher: UAR {score:.2f} on {n_windows} windows of unknown speakers (chance 0.20)")

    make_once(output, {"networks": RECIPE, "seed": seed, **asdict(size)}, fill)
    return _paths(output)


def _fit(made: DemoNetworks, seed: int, size: FitSize) -> None:
    """Both beside each other, each on one thread.

    PyTorch's threads wait for one another in a loop, and on a busy machine that made a step a hundred times slower. It
    also gives the same weights whatever the core count.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            speech = pool.submit(pretrain_speech_base, made.speech_base, seed, size.speech_speakers, size.speech_steps)
            fit_face_teacher(
                Path(made.face["weights"]),
                Path(made.face["landmark_weights"]),
                seed,
                size.face_speakers,
                size.face_epochs,
            )
            speech.result()
    finally:
        torch.set_num_threads(n_threads)


def _score_face(face: dict[str, str], corpus: Path) -> tuple[float, int]:
    """UAR over the first windows of the talking heads, and how many windows there are."""
    (entry,) = read_teachers({"face": face})
    teacher = entry.load(torch.device("cpu"))
    truth: list[int] = []
    found: list[int] = []
    with (corpus / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"]]
    for row in rows:
        with Reader(str(corpus / row["uri"])) as reader:
            frames = reader.span(0.0, 16 * _SCORED_WINDOWS / 30)
            faces = find_faces(frames, frames.n_cells, FaceConfig("opencv"))
        softmax = teacher(faces.clips[faces.clip_valid > 0.5])["face"].values
        found += softmax.argmax(1).tolist()
        truth += [FACE_LABELS.index(face_label(row["emotion"]))] * len(softmax)
    return uar(confusion_matrix(np.array(truth), np.array(found), len(FACE_LABELS))), len(truth)


def _paths(folder: Path) -> DemoNetworks:
    weights, landmarks = str(folder / "s2d.safetensors"), str(folder / "landmarks.safetensors")
    return DemoNetworks(folder / "speech_base", {"kind": "s2d", "weights": weights, "landmark_weights": landmarks})
