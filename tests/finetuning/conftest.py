"""A small base model, speech whose labels can be heard, and trainings on it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_teachers import make_speech_base
from tones import make_tones

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.finetuning.config import TeacherConfig
from liser_ray.finetuning.method import Shared
from liser_ray.finetuning.run import TeacherJob, new_training
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.training.checkpoint import loaded, saved
from liser_ray.training.fit import ProcessGroup, Training, trained_weights

CPU = torch.device("cpu")
SPEAKERS = tuple("abcdefgh")
FOLD = Fold(0, train=frozenset("abcdef"), validation=frozenset("g"), test=frozenset("h"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a HuBERT without a head."""
    return make_speech_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def speech() -> LabeledSpeech:
    """Two tones of each label by each of eight speakers, 0.5 to 1.2 s."""
    return make_tones(SPEAKERS)


def training_of(
    config: TeacherConfig,
    speech: LabeledSpeech,
    inputs: Any = None,
    fold: Fold = FOLD,
    output: str = "",
    split: TeacherSplit | None = None,
) -> tuple[TeacherJob, Training]:
    """A training, not begun, and its job; what of the method's ``inputs`` and of the split is not given is its own."""
    job, group = TeacherJob(config.method(), fold, output), ProcessGroup(CPU)
    split = split or job.split(speech)
    inputs = job.method.inputs(speech, split.heard, [fold]) if inputs is None else inputs
    return job, new_training(job, job.method.task(Shared(speech, inputs), split, job.seed, group), group)


def assert_same_end(through: Training, first: Training, second: Training) -> None:
    """One that ran through, and one of which the first epoch was trained elsewhere, come to the same."""
    first.run_epoch()
    torch.manual_seed(99)  # another process has other random numbers
    second.load_state(loaded(saved(first.state())))
    second.run()
    weights = trained_weights(through.model)
    for name, value in trained_weights(second.model).items():
        assert torch.equal(value, weights[name]), name
