"""The demo's networks: a pretrained speech model and a video teacher, small ones of the real architectures.

They are fitted to speakers of their own, so nobody in the corpus is known to them. The speech model has heard no label:
the speech teachers are made of it by the job that makes real ones, from the corpus's labeled speech.
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
import torch

from liser_ray.demo.emotions import VIDEO_LABELS, video_label
from liser_ray.demo.folders import made_before, new_folder
from liser_ray.demo.speech_base import pretrain_speech_base
from liser_ray.demo.video_fit import fit_video_teacher
from liser_ray.media.faces import FaceConfig, find_faces
from liser_ray.media.reader import Reader
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.teachers.finetuning.config import FinetuneConfig, TrainSettings
from liser_ray.teachers.video import VideoTeacherConfig, load_video_teacher

RECIPE = 2  # counts up when the same seed gives other networks
_SCORED_WINDOWS = 2  # per talking head: a window takes S2D a third of a second


@dataclass(frozen=True)
class DemoNetworks:
    """Where the networks are."""

    speech_base: Path  # a Transformers folder without a head
    video_weights: Path
    landmark_weights: Path


@dataclass(frozen=True)
class FitSize:
    """How much to fit; the defaults are the demo's."""

    speech_speakers: int = 16
    speech_steps: int = 600
    video_speakers: int = 40
    video_epochs: int = 4


def fit_networks(corpus: Path, output: Path, seed: int = 0, size: FitSize | None = None) -> DemoNetworks:
    """Fit both networks and score the video teacher, or do nothing if they are there already.

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
    recipe = {"networks": RECIPE, "seed": seed, **asdict(size)}
    if not made_before(output, recipe):
        with new_folder(output, recipe) as unfinished, _one_thread():
            made = _paths(unfinished)
            # Beside each other, each on one thread: PyTorch's threads wait for one another in a loop, and on a busy
            # machine that made a step a hundred times slower. It also gives the same weights whatever the core count.
            with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
                speech = pool.submit(
                    pretrain_speech_base, made.speech_base, seed, size.speech_speakers, size.speech_steps
                )
                fit_video_teacher(
                    made.video_weights, made.landmark_weights, seed, size.video_speakers, size.video_epochs
                )
                speech.result()
            score, n_windows = score_video(made, corpus)
            (unfinished / "scores.json").write_text(json.dumps({"video": [score, n_windows]}, indent=1))
            print(f"video teacher: UAR {score:.2f} on {n_windows} windows of unknown speakers (chance 0.20)")
    return _paths(output)


def speech_settings(corpus: Path, networks: DemoNetworks, output: Path) -> FinetuneConfig:
    """Settings of the job that tunes the speech teachers, for a narrow model and 200 utterances."""
    return FinetuneConfig(
        labeled=str(corpus / "audio/labels.csv"),
        output=str(output),
        base=str(networks.speech_base),
        workers=0,
        # Pieces of a second: the labeling job will ask about half a second at a time.
        train=TrainSettings(epochs=40, patience=15, batch_size=16, learning_rate=5e-3, crop_s=1.0),
    )


def score_video(networks: DemoNetworks, corpus: Path) -> tuple[float, int]:
    """UAR over the first windows of the talking heads, and how many windows there are."""
    teacher = load_video_teacher(
        VideoTeacherConfig(weights=str(networks.video_weights), landmark_weights=str(networks.landmark_weights))
    )
    truth: list[int] = []
    found: list[int] = []
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
    return uar(confusion_matrix(np.array(truth), np.array(found), len(VIDEO_LABELS))), len(truth)


def _paths(folder: Path) -> DemoNetworks:
    return DemoNetworks(folder / "speech_base", folder / "s2d.safetensors", folder / "landmarks.safetensors")


@contextmanager
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
