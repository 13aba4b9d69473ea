"""What a teacher learns from; the loop itself is in tests/training/test_fit.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finetuning.conftest import CPU, FOLD, assert_same_end, training_of
from small_teachers import make_spectrogram_model

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.finetuning.config import FinetuneConfig, LoraSettings, TrainSettings
from liser_ray.finetuning.model import build_model
from liser_ray.finetuning.task import copy_of, score_recordings
from liser_ray.teachers.speech_inputs import RawSound
from liser_ray.training.fit import Training, trained_weights

SETTINGS = TrainSettings(epochs=3, batch_size=8, learning_rate=1e-2, crop_s=0.6)


def training(base: Path, speech: LabeledSpeech, fold=FOLD, **changes) -> Training:
    config = FinetuneConfig(base=str(base), lora=LoraSettings(rank=4), train=replace(SETTINGS, **changes))
    return training_of(config, speech, fold=fold)[1]


@pytest.fixture(scope="module")
def trained(base, speech) -> Training:
    one = training(base, speech)
    one.run()
    return one


def test_a_resumed_training_ends_like_one_that_ran_through(base, speech, trained):
    second = training(base, speech)
    assert_same_end(trained, training(base, speech), second)
    assert [replace(one, seconds=0) for one in second.history] == [replace(one, seconds=0) for one in trained.history]
    assert any("lora_A" in name for name in trained_weights(second.model))


def test_each_seed_and_each_fold_has_its_own_random_numbers(base, speech):
    same_speakers = replace(FOLD, index=1)
    made = [training(base, speech), training(base, speech, seed=1), training(base, speech, same_speakers)]
    heads = [next(value for name, value in trained_weights(one.model).items() if "classifier" in name) for one in made]
    assert len({tuple(head[0].tolist()) for head in heads}) == 3


def test_small_passes_are_the_whole_batch_and_a_piece_is_the_same_whoever_hears_it(base, speech):
    wholes, small = (
        training(base, speech, micro_batch_size=size, class_weights="balanced").task.steps(2) for size in (8, 3)
    )
    for whole, passes in zip(wholes, small, strict=True):
        (part,) = whole.parts
        assert max(len(one.recordings) for one in passes.parts) == 3
        assert whole.weight == passes.weight
        np.testing.assert_array_equal(part.recordings, np.concatenate([one.recordings for one in passes.parts]))
        pieces = [piece for one in passes.parts for piece in one.waveforms]
        for one, other in zip(part.waveforms, pieces, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_recording_or_a_changed_copy_of_it_is_heard_in_each_epoch(base, speech):
    """Of whole recordings: which way is drawn by recording and epoch, and all ways come."""
    one, found = training(base, speech, copies=2, crop_s=100.0, epochs=8), {}
    for epoch in range(1, 9):
        for step in one.task.steps(epoch):
            for part in step.parts:
                for index, piece in zip(part.recordings.tolist(), part.waveforms, strict=True):
                    ways = [copy_of(speech, index, copy) for copy in range(3)]
                    found.setdefault(index, set()).add([np.array_equal(piece, way) for way in ways].index(True))
    assert set().union(*found.values()) == {0, 1, 2}
    assert {len(ways) for ways in found.values()} <= {2, 3}


def test_pieces_of_a_batch_have_one_length_where_the_model_takes_no_mask(speech, tmp_path):
    one = training(make_spectrogram_model("whisper", tmp_path), speech, crop_s=10.0)
    for step in one.task.steps(1):
        lengths = {len(piece) for part in step.parts for piece in part.waveforms}
        assert len(lengths) == 1
    assert one.run_epoch().loss > 0


def test_a_long_recording_is_scored_in_pieces(base, speech, monkeypatch):
    model = build_model(base, 3, LoraSettings(), 0, CPU)
    whole = score_recordings(model, speech, np.array([0]), RawSound(normalised=True), CPU, "float32")
    monkeypatch.setattr(RawSound, "longest_s", 0.5)
    pieces = score_recordings(model, speech, np.array([0]), RawSound(normalised=True), CPU, "float32")
    assert whole.shape == pieces.shape == (1, 3)
    assert not np.allclose(whole, pieces)
