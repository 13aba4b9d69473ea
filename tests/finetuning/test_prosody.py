"""Prosodic teachers from scratch: what is learned, what the bundle says, and that a stop changes nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finetuning.conftest import CPU, FOLD, assert_same_end, training_of
from tone_files import write_tones

from liser_ray.finetuning.config import ProsodyConfig, ProsodyTrainSettings
from liser_ray.finetuning.job import finetune
from liser_ray.finetuning.run import TeacherJob, write_bundle
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.bundles import read_bundle
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.targets import refuse_leak
from liser_ray.training.fit import Training

CONFIG = ProsodyConfig(train=ProsodyTrainSettings(epochs=6, batch_size=8, learning_rate=1e-2, crop_s=0.6, dropout=0.1))


@pytest.fixture(scope="module")
def described(speech) -> dict[int, np.ndarray]:
    return CONFIG.method().inputs(speech, np.arange(len(speech)), [FOLD])


@pytest.fixture(scope="module")
def trained(speech, described) -> tuple[TeacherJob, Training]:
    job, one = training_of(CONFIG, speech, described)
    one.run()
    return job, one


def test_a_bundle_says_whom_it_has_heard_and_how_good_it_is(trained, speech, tmp_path):
    job, one = trained
    job = replace(job, output=str(tmp_path))
    split = job.split(speech)
    write_bundle(job, one, speech, split)
    (entry,) = read_teachers([f"prosody=prosody:{tmp_path}/fold-0"])
    teacher = entry.load(CPU)
    (target,) = teacher.targets
    bundle = read_bundle(str(tmp_path / "fold-0"))
    assert target.tuned_on == bundle.tuned_on
    assert set(target.tuned_on.heard) <= FOLD.train
    refuse_leak(target, "tones", FOLD.test | FOLD.validation)
    with pytest.raises(UserError, match="was tuned on speakers"):
        refuse_leak(target, "tones", FOLD.train)
    softmax = teacher([speech.waveform(i).astype(np.float32) / 32768 for i in split.selection])["prosody"].values
    truth = speech.label_index[split.selection]
    assert target.held_out.uar == pytest.approx(uar(confusion_matrix(truth, softmax.argmax(axis=1), 3)), abs=1e-4)
    assert target.temperature == bundle.content["temperatures"]["0.0"]
    scores = bundle.content["scores"]["recordings"]
    assert np.sum(scores["confusion"]) == 6
    card = (tmp_path / "fold-0/README.md").read_text()
    assert f"| whole recordings | {scores['uar']:.3f} |" in card
    assert "Never heard: speakers g, h" in card


def test_tones_are_told_apart(trained):
    assert trained[1].best.validation_uar > 0.9


def test_a_resumed_training_ends_like_one_that_ran_through(trained, speech, described):
    first, second = (training_of(CONFIG, speech, described)[1] for _ in range(2))
    assert_same_end(trained[1], first, second)


def test_it_knows_nothing_of_speakers_that_are_not_its_own(speech, described):
    split = TeacherJob(CONFIG.method(), FOLD, "").split(speech)
    own = {index: described[index] for index in split.heard.tolist()}
    _, one = training_of(CONFIG, speech, own)
    frames = np.concatenate([described[index] for index in split.train], axis=1)
    np.testing.assert_allclose(one.model.mean, frames.mean(axis=1), rtol=1e-4, atol=1e-4)
    one.run_epoch()


def test_the_job_goes_on_where_it_was(tmp_path):
    config = replace(CONFIG, labeled=write_tones(tmp_path), output=str(tmp_path / "out"), folds="0")
    result = finetune(config)
    assert result.trained == (0,)
    assert Path(result.output, "fold-0/prosody.safetensors").exists()
    assert finetune(config).trained == ()
    with pytest.raises(UserError, match=r"train\.crop_s: was 0\.6, is now 1\.0"):
        finetune(replace(config, train=replace(config.train, crop_s=1.0)))
