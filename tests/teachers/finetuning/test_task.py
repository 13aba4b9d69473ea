"""What a teacher learns from; the loop itself is in tests/training/test_fit.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from teachers.finetuning.conftest import FOLD

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.teachers.finetuning import task
from liser_ray.teachers.finetuning.config import FinetuneConfig, LoraSettings, TrainSettings
from liser_ray.teachers.finetuning.model import build_model
from liser_ray.teachers.finetuning.run import TeacherJob, make_training
from liser_ray.teachers.finetuning.task import score_recordings
from liser_ray.training.checkpoint import loaded, saved
from liser_ray.training.fit import ProcessGroup, Training, trained_weights, validation_scores

CPU = torch.device("cpu")
SETTINGS = TrainSettings(epochs=3, batch_size=8, learning_rate=1e-2, crop_s=0.6)


def training(base: Path, speech: LabeledSpeech, fold=FOLD, **changes) -> Training:
    config = FinetuneConfig(lora=LoraSettings(rank=4), train=replace(SETTINGS, **changes))
    return make_training(TeacherJob(config, fold, ""), speech, base, ProcessGroup(CPU))


def finish(one: Training) -> Training:
    one.run(lambda score: None, lambda steps: None)
    return one


def without_time(one: Training) -> list:
    return [replace(score, seconds=0.0) for score in one.history]


@pytest.fixture(scope="module")
def trained(base, speech) -> Training:
    return finish(training(base, speech))


def test_a_resumed_training_ends_like_one_that_ran_through(base, speech, trained):
    first = training(base, speech)
    first.run_epoch()
    state = loaded(saved(first.state()), CPU)
    torch.manual_seed(99)  # another process has other random numbers
    second = training(base, speech)
    second.load_state(state)
    finish(second)
    assert without_time(second) == without_time(trained)
    weights = trained_weights(trained.model)
    assert any("lora_A" in name for name in weights)
    for name, value in trained_weights(second.model).items():
        assert torch.equal(value, weights[name]), name


def test_each_seed_and_each_fold_has_its_own_random_numbers(base, speech):
    same_speakers = replace(FOLD, index=1)
    made = [training(base, speech), training(base, speech, seed=1), training(base, speech, same_speakers)]
    heads = [next(value for name, value in trained_weights(one.model).items() if "classifier" in name) for one in made]
    assert len({tuple(head[0].tolist()) for head in heads}) == 3


def test_small_passes_sum_to_the_whole_batch(base, speech):
    # Without dropout and SpecAugment, whose random numbers depend on the passes; pieces of one length, since padding
    # enters the norm over time. In double precision: all that differs is the order of sums.
    whole, parts = (training(base, speech, micro_batch_size=size, crop_s=0.5, epochs=1) for size in (8, 3))
    for one in (whole, parts):
        quiet(one.model)
        in_double(one.model)
        one.run_epoch()
    weights = trained_weights(whole.model)
    for name, value in trained_weights(parts.model).items():
        torch.testing.assert_close(value, weights[name], rtol=1e-6, atol=1e-9)


def quiet(model: torch.nn.Module) -> None:
    model.config.apply_spec_augment = False
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0


def in_double(model: torch.nn.Module) -> None:
    def doubled(module, positional, named):
        return positional, {name: one.double() if one.is_floating_point() else one for name, one in named.items()}

    model.double().register_forward_pre_hook(doubled, with_kwargs=True)


def test_the_best_epoch_is_kept_and_training_stops_when_nothing_gets_better(base, speech):
    done = finish(training(base, speech, epochs=50, patience=2, learning_rate=1e-7))
    assert len(done.history) < 50
    assert len(done.history) - done.best.epoch <= 2
    selection = done.task.split.selection
    logits = score_recordings(done.model, speech, selection, True, CPU, "float32")
    scores = validation_scores(logits, speech.label_index[selection])
    assert scores == pytest.approx((done.best.validation_loss, done.best.validation_uar))


def test_a_loss_that_is_not_finite_says_what_to_do(base, speech):
    broken = training(base, speech)
    with torch.no_grad():
        next(p for p in broken.model.parameters() if p.requires_grad).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"--train\.learning_rate"):
        broken.run_epoch()


def test_a_long_recording_is_scored_in_pieces(base, speech, monkeypatch):
    model = build_model(base, 3, LoraSettings(), 0, CPU)
    whole = score_recordings(model, speech, np.array([0]), True, CPU, "float32")
    monkeypatch.setattr(task, "LONGEST_S", 0.5)
    pieces = score_recordings(model, speech, np.array([0]), True, CPU, "float32")
    assert whole.shape == pieces.shape == (1, 3)
    assert not np.allclose(whole, pieces)
