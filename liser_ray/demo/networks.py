"""The demo's networks: a pretrained speech model and a face teacher, small ones of the real architectures.

They are fitted to speakers of their own, so nobody in the corpus is known to them. The speech model has no head: the
speech teachers are made of it by the job that makes real ones, from the corpus's labeled speech.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from liser_ray.demo.face_teacher import fit_face_teacher
from liser_ray.demo.folders import make_once
from liser_ray.demo.speech_base import pretrain_speech_base
from liser_ray.teachers.batches import one_thread

RECIPE = 4  # counts up when the same seed gives other networks


@dataclass(frozen=True)
class DemoNetworks:
    """Where the networks are."""

    speech_base: Path  # a Transformers folder without a head
    face: dict[str, str]  # settings of an S2D


@dataclass(frozen=True)
class FitSize:
    """How much to fit; the defaults are the demo's."""

    speech_speakers: int = 40
    speech_steps: int = 1000
    face_speakers: int = 40
    face_epochs: int = 4


def fit_networks(output: Path, seed: int = 0, size: FitSize | None = None) -> DemoNetworks:
    """Fit both networks, or do nothing if they are there already.

    The landmark network is random, with fixed weights: there is no pretrained one without a download. Without a size
    they are the demo's.

    Raises:
        UserError: if the output folder holds something else.
    """
    size = size or FitSize()
    recipe = {"networks": RECIPE, "seed": seed, **asdict(size)}
    make_once(output, recipe, lambda unfinished: _fit(_paths(unfinished), seed, size))
    return _paths(output)


def _fit(made: DemoNetworks, seed: int, size: FitSize) -> None:
    """Both beside each other, each on one thread, which gives the same weights whatever the core count."""
    with one_thread(), ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        speech = pool.submit(pretrain_speech_base, made.speech_base, seed, size.speech_speakers, size.speech_steps)
        weights, landmarks = Path(made.face["weights"]), Path(made.face["landmark_weights"])
        fit_face_teacher(weights, landmarks, seed, size.face_speakers, size.face_epochs)
        speech.result()


def _paths(folder: Path) -> DemoNetworks:
    weights, landmarks = str(folder / "s2d.safetensors"), str(folder / "landmarks.safetensors")
    return DemoNetworks(folder / "speech_base", {"kind": "s2d", "weights": weights, "landmark_weights": landmarks})
