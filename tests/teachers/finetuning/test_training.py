from dataclasses import replace

import numpy as np
import pytest
import torch
from teachers.finetuning.conftest import FOLD

from liser_ray.teachers.finetuning.config import LoraSettings, TrainSettings
from liser_ray.teachers.finetuning.model import build_model, trained_state
from liser_ray.teachers.finetuning.split import split_fold
from liser_ray.teachers.finetuning.training import EpochScore, Training, score_recordings

SETTINGS = TrainSettings(epochs=4, batch_size=8, learning_rate=1e-2, crop_s=0.6)


def training(base, speech, **changes) -> Training:
    settings = replace(SETTINGS, **changes)
    device = torch.device("cpu")
    model = build_model(base, len(speech.labels), LoraSettings(rank=4), settings.seed, device)
    split = split_fold(speech, FOLD, settings.selection_share, settings.seed)
    return Training(model, speech, split, settings, True, device)


def assert_same_weights(one: Training, other: Training, atol: float = 0.0) -> None:
    left, right = trained_state(one.model), trained_state(other.model)
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=atol, rtol=0)


def nothing(score: EpochScore) -> None:
    pass


@pytest.fixture(scope="module")
def trained(base, speech) -> Training:
    done = training(base, speech)
    done.run(nothing)
    return done


def test_the_same_seed_gives_the_same_teacher_and_another_seed_another(base, speech, trained):
    again, other = training(base, speech), training(base, speech, seed=1)
    again.run(nothing)
    other.run(nothing)
    assert again.history == trained.history
    assert_same_weights(again, trained)
    assert other.history != trained.history


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_training_ends_like_one_that_ran_through(base, speech, trained, stop_after, tmp_path):
    first = training(base, speech)
    for _ in range(stop_after):
        first.run_epoch()
    torch.save(first.state(), tmp_path / "state.pt")
    torch.manual_seed(99)  # another process has other random numbers
    second = training(base, speech)
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    second.run(nothing)
    assert second.history == trained.history
    assert_same_weights(second, trained)


def test_small_passes_sum_to_the_whole_batch(base, speech, tmp_path):
    # Without dropout and SpecAugment, whose random numbers depend on the passes; pieces of one length, since padding
    # enters the norm over time.
    whole, parts = (training(base, speech, micro_batch_size=size, crop_s=0.5, epochs=1) for size in (8, 3))
    for one in (whole, parts):
        quiet(one)
        one.run_epoch()
    assert_same_weights(whole, parts, atol=1e-5)


def quiet(one: Training) -> None:
    one.plain_model.config.apply_spec_augment = False
    for module in one.plain_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0


def test_the_best_epoch_is_kept_and_training_stops_when_nothing_gets_better(base, speech):
    done = training(base, speech, epochs=50, patience=2, learning_rate=1e-7)
    done.run(nothing)
    assert done.best is not None
    assert done.best.selection_uar == max(score.selection_uar for score in done.history)
    assert len(done.history) - done.best.epoch <= 2
    assert len(done.history) < 50
    logits = score_recordings(done.model, speech, done.split.selection, True, done.device, "float32")
    truth = torch.from_numpy(speech.label_index[done.split.selection])
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), truth)
    assert loss.item() == pytest.approx(done.best.selection_loss, rel=1e-5)


def test_a_tie_in_uar_goes_to_the_smaller_loss():
    assert EpochScore(2, 1.0, 0.9, 0.5).better_than(EpochScore(1, 1.0, 1.0, 0.5))
    assert not EpochScore(2, 1.0, 0.9, 0.4).better_than(EpochScore(1, 1.0, 1.0, 0.5))


def test_balanced_classes_weigh_the_same(base, speech):
    few = replace(speech, label_index=np.where(speech.label_index == 2, 1, speech.label_index))
    one = training(base, replace(few, labels=speech.labels[:2]), class_weights="balanced")
    counts = np.bincount(few.label_index[one.split.train])
    assert counts[0] * one._label_weights[0] == pytest.approx(float(counts[1] * one._label_weights[1]))


def test_a_loss_that_is_not_finite_says_what_to_do(base, speech):
    broken = training(base, speech)
    with torch.no_grad():
        next(p for p in broken.model.parameters() if p.requires_grad).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"--train\.learning_rate"):
        broken.run_epoch()


def test_a_long_recording_is_scored_in_pieces(base, speech, monkeypatch):
    model = build_model(base, 3, LoraSettings(), 0, torch.device("cpu"))
    arguments = (True, torch.device("cpu"), "float32")
    whole = score_recordings(model, speech, np.array([0]), *arguments)
    monkeypatch.setattr("liser_ray.teachers.finetuning.training.LONGEST_S", 0.5)
    pieces = score_recordings(model, speech, np.array([0]), *arguments)
    assert whole.shape == pieces.shape == (1, 3)
    assert not np.allclose(whole, pieces)
