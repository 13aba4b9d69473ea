"""Heads on frozen models: features computed once, a bundle that the labeling job loads, and one base for all folds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning.conftest import CPU, FOLD, assert_same_end
from small_teachers import OF_SPECTROGRAMS, make_spectrogram_model, make_speech_base
from tones import LABELS

from liser_ray.finetuning.config import FinetuneConfig, TrainSettings
from liser_ray.finetuning.head import PIECES_S, FrozenSpeech, HeadTask, freeze
from liser_ray.finetuning.run import TeacherJob, new_training, write_bundle
from liser_ray.finetuning.split import split_fold
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.bundles import read_bundle
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.pooled_head import LayerStatistics
from liser_ray.teachers.speech_inputs import read_preparation
from liser_ray.teachers.speech_models import load_base
from liser_ray.teachers.targets import refuse_leak
from liser_ray.teachers.teacher import Teacher
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.fit import ProcessGroup, Training, trained_weights

SETTINGS = TrainSettings(epochs=4, batch_size=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def bases(base, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {"hubert": base} | {kind: make_spectrogram_model(kind, root / kind) for kind in OF_SPECTROGRAMS}


@pytest.fixture(scope="module")
def frozen(base, speech) -> FrozenSpeech:
    return freeze(speech, np.arange(len(speech)), base, "float32")


def training(frozen: FrozenSpeech, fold=FOLD, **changes) -> Training:
    settings = replace(SETTINGS, **changes)
    task = HeadTask(frozen, split_fold(frozen.speech, fold, 0.2, 0), settings, 0, ProcessGroup(CPU))
    return new_training(TeacherJob(FinetuneConfig(train=settings).method(), fold, ""), task, ProcessGroup(CPU))


def bundle_of(one: Training, base: Path, output: Path, fold=FOLD) -> Path:
    method = FinetuneConfig(base=str(base), head_only=True).method()
    write_bundle(TeacherJob(method, fold, str(output)), one, one.task.speech, one.task.split)
    return output / f"fold-{fold.index}"


def load(address: object) -> Teacher:
    (entry,) = read_teachers([f"speech=speech:{address}"])
    return entry.load(CPU)


@pytest.mark.numerics
@pytest.mark.parametrize("kind", ["hubert", *OF_SPECTROGRAMS])
def test_a_bundle_answers_as_the_head_in_training(bases, speech, kind, tmp_path):
    frozen = freeze(speech, np.arange(len(speech)), bases[kind], "float32")
    one = training(frozen)
    one.run()
    folder = bundle_of(one, bases[kind], tmp_path)
    teacher, windows = load(folder), sound_windows(speech.waveform(3), 0.5, 0.5)[0]
    base = load_base(bases[kind], CPU)
    prepare = read_preparation(bases[kind], base.model)
    with torch.inference_mode():
        statistics = LayerStatistics(base.model)(**prepare.windows(torch.from_numpy(windows)))
        expected = one.model.eval()(statistics).softmax(1).numpy()
    np.testing.assert_allclose(teacher(windows)["speech"].values, expected, atol=1e-5)
    (entry,) = read_teachers({"speech": {"kind": "speech", "weights": str(folder), "embedding": True}})
    head, found = one.model, entry.load(CPU)(windows)["speech"].embedding
    standardised = (statistics - head.mean) / head.deviation
    weighed = sum(weight * standardised[:, i] for i, weight in enumerate(head.layers.softmax(0)))
    np.testing.assert_allclose(found, weighed.detach(), rtol=1e-3, atol=1e-3)
    assert teacher.targets[0].labels == LABELS
    card = read_bundle(str(folder))
    assert card.content["scores"]["n_recordings"] == 6
    assert "lora" not in card.content["settings"]
    assert "head on all its layers" in (folder / "README.md").read_text()


@pytest.mark.numerics
def test_statistics_are_mean_and_deviation_over_time_of_each_layer(bases, speech):
    base = load_base(bases["whisper"], CPU)
    inputs = read_preparation(bases["whisper"], base.model).pieces([speech.waveform(0)])
    with torch.no_grad():
        layers = base.model(**inputs, output_hidden_states=True).hidden_states
        found = LayerStatistics(base.model)(**inputs)
    assert found.shape == (1, 3, 64)
    for layer, one in enumerate(layers):
        expected = np.concatenate([one[0].numpy().mean(axis=0), one[0].numpy().std(axis=0)])
        np.testing.assert_allclose(found[0, layer].numpy(), expected, atol=1e-5)


def test_pieces_of_all_lengths_count_the_same_and_so_does_each_recording(frozen, speech):
    assert sorted(set(frozen.recording.tolist())) == list(range(len(speech)))
    assert set(frozen.kind.tolist()) == {0, 1, 2}
    task = training(frozen).task
    pieces = task._train
    for recording in task.split.train:
        of = pieces.recording == recording
        assert pieces.weight[of].sum() == pytest.approx(1, abs=1e-6)
        for kind in range(len(PIECES_S)):
            assert pieces.weight[of & (pieces.kind == kind)].sum() == pytest.approx(1 / 3, abs=1e-6)
    for step in task.steps(1):
        assert pieces.weight[step.parts[0]].sum() == pytest.approx(step.weight, abs=1e-5)
    heard = {int(place) for step in task.steps(1) for place in step.parts[0]}
    assert heard == set(range(len(pieces.index)))


def test_copies_train_beside_their_recording_and_pick_no_epoch(base, speech, frozen):
    """A recording counts the same with its changed copies; it is heard itself as without them."""
    some = np.arange(0, len(speech), 3)
    with_copies = freeze(speech, some, base, "float32", copies=2)
    of_itself = with_copies.copy == 0
    alone = np.isin(frozen.recording, some)
    np.testing.assert_array_equal(with_copies.statistics[of_itself], frozen.statistics[alone])
    assert sorted({*zip(with_copies.recording.tolist(), with_copies.copy.tolist(), strict=True)}) == [
        (index, copy) for index in some for copy in range(3)
    ]
    whole = [with_copies.statistics[(with_copies.copy == copy) & (with_copies.kind == 2)] for copy in range(3)]
    assert not np.array_equal(whole[0], whole[1])
    assert not np.array_equal(whole[1], whole[2])
    task = training(with_copies).task
    train, selection = task._train, task._selection
    for recording in {*train.recording.tolist()}:
        assert train.weight[train.recording == recording].sum() == pytest.approx(1, abs=1e-6)
    assert {*with_copies.copy[train.index].tolist()} == {0, 1, 2}
    assert {*with_copies.copy[selection.index].tolist()} == {0}


def test_it_learns_what_the_layers_hear(frozen):
    one = training(frozen, epochs=15)
    one.run()
    assert one.history[-1].loss < one.history[0].loss - 0.2
    assert one.best.validation_uar > 0.6


def test_the_score_of_an_epoch_is_the_mean_over_lengths_of_the_recordings_uar(frozen):
    task = training(frozen).task
    _, score = task.validate(task.model, "float32")
    pieces, found = task._selection, []
    with torch.inference_mode():
        softmax = task.model.eval()(torch.from_numpy(frozen.statistics[pieces.index]).float()).softmax(1).numpy()
    for kind in range(len(PIECES_S)):
        means = [
            softmax[(pieces.recording == one) & (pieces.kind == kind)].mean(axis=0) for one in task.split.selection
        ]
        truth = task.speech.label_index[task.split.selection]
        found.append(uar(confusion_matrix(truth, np.argmax(means, axis=1), 3)))
    assert score == pytest.approx(np.mean(found))


def test_a_resumed_training_ends_like_one_that_ran_through(frozen):
    through, first, second = training(frozen), training(frozen), training(frozen)
    through.run()
    assert_same_end(through, first, second)
    trained = {"mean", "deviation", "layers", "classifier.weight", "classifier.bias"}
    assert set(trained_weights(second.model)) == trained


def test_the_base_runs_once_for_the_heads_of_all_folds(frozen, base, tmp_path):
    for fold in (FOLD, replace(FOLD, index=1)):
        one = training(frozen, fold, epochs=1, seed=fold.index)
        one.run()
        bundle_of(one, base, tmp_path, fold)
    teacher = load(f"{tmp_path}/fold-*")
    assert [target.name for target in teacher.targets] == ["speech_fold_0", "speech_fold_1"]
    calls = []
    teacher.models[0].network.statistics.module.model.register_forward_hook(lambda *_: calls.append(1))
    found = teacher(np.random.default_rng(0).normal(0, 0.1, (70, 8000)).astype(np.float32))
    assert len(calls) == 2  # batches of 64, not batches times heads
    assert len(found) == 2


def test_whom_a_head_has_heard_is_known(frozen, base, tmp_path):
    one = training(frozen, epochs=1)
    one.run()
    (target,) = load(bundle_of(one, base, tmp_path)).targets
    refuse_leak(target, "tones", FOLD.test | FOLD.validation)
    with pytest.raises(UserError, match="was tuned on speakers"):
        refuse_leak(target, "tones", FOLD.train)


def test_a_file_that_is_no_head_and_another_base_are_refused(frozen, base, tmp_path):
    one = training(frozen, epochs=1)
    one.run()
    folder = bundle_of(one, base, tmp_path)
    config, deeper = folder / "head_config.json", make_speech_base(tmp_path / "deeper", num_hidden_layers=3)
    config.write_text(json.dumps({"base_model_name_or_path": str(deeper)}))
    with pytest.raises(UserError, match=r"was trained on another base than .*deeper"):
        load(folder)
    (folder / "head.safetensors").write_bytes((folder / "bundle.json").read_bytes())
    with pytest.raises(UserError, match=r"head\.safetensors"):
        load(folder)
