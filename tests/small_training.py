"""A small training of the student: tones to name, and unlabeled tones that two imagined teachers have listened to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from small_labels import FACE, speech_target
from tones import LABELS, make_tones, tone
from torch import nn

from liser_ray.corpora.folds import Fold
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.data.mels import compute_log_mels, padded_frames
from liser_ray.student.data.unlabeled import HeldSegments, TargetWindows, UnlabeledRecordings
from liser_ray.student.network import StudentNetwork
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.task import Labeled, StudentTask, Unlabeled
from liser_ray.training.fit import ProcessGroup, Training, fit_settings
from liser_ray.training.precision import Precision

FOLD = Fold(0, train=frozenset("abcd"), validation=frozenset("ef"), test=frozenset("gh"))
CPU = torch.device("cpu")
ALONE = ProcessGroup(CPU)
SPEECH = make_tones("abcdefgh", takes=2, shortest_s=2.5, longest_s=4.0)
TARGETS = {"speech": speech_target("told", LABELS, temperature=1.0), "face": FACE}
N_FACE = len(FACE.labels)


def log_mels(waveforms):
    n_samples = np.array([len(one) for one in waveforms])
    return compute_log_mels(waveforms, int(padded_frames(n_samples).sum()), "none", CPU)


MELS = log_mels([SPEECH.waveform(i) for i in range(len(SPEECH))])


def make_unlabeled(n_rows: int = 20, seed: int = 1) -> UnlabeledRecordings:
    """Tones of 4 to 6 s; speech mostly knows their label, face says anything, or nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(LABELS), size=n_rows)
    waveforms = [tone(int(label), rng.uniform(4, 6), rng) for label in truth]
    n_speech = np.array([len(one) // 8000 for one in waveforms])
    n_face = np.array([len(one) * 30 // 16_000 // 16 for one in waveforms])
    sure = np.repeat(np.eye(len(LABELS))[truth], n_speech, axis=0)
    speech = (0.7 * sure + 0.3 * rng.dirichlet(np.ones(len(LABELS)), len(sure))).astype(np.float32)
    face = rng.dirichlet(np.ones(N_FACE), n_face.sum()).astype(np.float32)
    seen = np.repeat(rng.random(n_rows) < 0.8, n_face)  # a fifth never shows a face
    windows = {
        "told": TargetWindows(speech, np.ones(len(speech), bool), np.cumsum(n_speech), 24_000, 24_000),
        "face": TargetWindows(face, seen, np.cumsum(n_face), 25_600, 25_600),
    }
    return UnlabeledRecordings(log_mels(waveforms), np.array([n_rows // 2, n_rows - n_rows // 2]), windows)


UNLABELED = make_unlabeled()


def make_training(
    loss: LossConfig | None = None,
    recordings: UnlabeledRecordings | None = UNLABELED,
    seed: int = 0,
    train: TrainConfig | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
    validation: np.ndarray | None = None,
    group: ProcessGroup = ALONE,
    precision: Precision = "float32",
    chunks: int = 0,
) -> Training:
    """A training of four speakers, a validation by two others; equation (5) unless told otherwise."""
    torch.manual_seed(seed)
    config = train or TrainConfig(epochs=3, batch_size=8, learning_rate=2e-3)
    loss = loss or LossConfig({"speech": 2.0, "face": 0.5}, confidence="raw")
    unlabeled = None
    if recordings is not None:
        unlabeled = Unlabeled(
            len(recordings.mels),
            lambda done, done_here: HeldSegments(recordings, TARGETS, seed, done, CPU, config.placebo),
        )
    heads = {name: len(TARGETS[name].labels) for name in loss.lambdas}
    heads |= {"clusters": loss.clusters} if loss.clusters else {}
    validation = SPEECH.of_speakers(FOLD.validation) if validation is None else validation
    task = StudentTask(
        wrap(StudentNetwork(len(LABELS), heads, NetworkConfig(chunks=chunks))),
        Labeled(MELS, SPEECH, SPEECH.of_speakers(FOLD.train), {} if recordings is None else TARGETS),
        unlabeled,
        EvaluationSet(SPEECH, validation, "none", CPU, chunks),
        config,
        loss,
        seed,
        group,
    )
    return Training(task, fit_settings(config), seed, group, precision)


def in_double(student: nn.Module) -> nn.Module:
    """A student in double precision, whose rounding is too small to depend on the kind of CPU."""
    for one in (student.double(), student.classifier):
        one.register_forward_pre_hook(lambda module, inputs: tuple(one.double() for one in inputs))
    return student


def finish(training: Training) -> Training:
    """Train to the end."""
    training.run()
    return training


def without_time(training: Training) -> list[Any]:
    """The history, which is equal for equal trainings."""
    return [replace(score, seconds=0.0) for score in training.history]
