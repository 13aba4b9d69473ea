"""A bundle is what its trainer had, in the labeling job and in plain Transformers and PEFT."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning.conftest import CPU, FOLD, training_of
from peft import PeftModel
from sklearn.metrics import recall_score
from small_teachers import make_spectrogram_model
from tones import LABELS
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from liser_ray.corpora.speech import training_recordings
from liser_ray.evaluation.classifiers import load_classifiers
from liser_ray.finetuning.bundle import base_name
from liser_ray.finetuning.config import FinetuneConfig, LoraSettings, TrainSettings
from liser_ray.finetuning.run import write_bundle
from liser_ray.finetuning.speech import spoken_windows
from liser_ray.finetuning.split import TeacherSplit, split_fold
from liser_ray.results.metrics import confidence_auroc
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.bundles import read_bundle
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.kinds import speech as speech_kind
from liser_ray.teachers.speech_models import base_address
from liser_ray.teachers.targets import Target, more_labels, refuse_leak
from liser_ray.teachers.teacher import Teacher
from liser_ray.teachers.temperature import with_temperature
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.fit import Training


def tune(base, speech, split: TeacherSplit | None, output: Path, labeled_fraction=1.0, **lora) -> Training:
    """A short training whose bundle lies in ``output``/fold-0."""
    config = FinetuneConfig(
        base=str(base),
        lora=LoraSettings(rank=4, **lora),
        train=TrainSettings(epochs=2, batch_size=8, learning_rate=1e-2, crop_s=0.6, labeled_fraction=labeled_fraction),
        precision="float32",
    )
    job, training = training_of(config, speech, output=str(output), split=split)
    training.run()
    write_bundle(job, training, speech, training.task.split)
    return training


@pytest.fixture(scope="module")
def trained(base, speech, tmp_path_factory) -> tuple[Training, Path]:
    output = tmp_path_factory.mktemp("bundles")
    return tune(base, speech, split_fold(speech, FOLD, 0.2, 0), output), output / "fold-0"


def test_a_teacher_that_is_evaluated_has_its_name_and_its_seed(trained):
    (one,) = load_classifiers(str(trained[1].parent), 0.1)
    assert (one.recipe, one.seed, one.fold) == ("no-dstl+base0", 0, 0)


def load(folder: Path) -> Teacher:
    """As the labeling job does."""
    (entry,) = read_teachers([f"speech=speech:{folder}"])
    return entry.load(CPU)


def windows_of(pcm: np.ndarray) -> np.ndarray:
    return sound_windows(pcm, 0.5, 0.5)[0]


def softmaxes_in_training(training: Training, windows: np.ndarray) -> np.ndarray:
    """What the model in the trainer's memory says of 0.5-s windows."""
    with torch.inference_mode():
        inputs = training.task.prepare.windows(torch.from_numpy(windows))
        return training.model.eval()(**inputs).logits.softmax(1).numpy()


def test_the_labeling_job_gets_the_probabilities_of_the_trainer(trained, speech):
    training, folder = trained
    windows = windows_of(speech.waveform(0))
    found = load(folder)(windows)["speech"].values
    np.testing.assert_allclose(found, softmaxes_in_training(training, windows), atol=1e-6)


@pytest.mark.numerics
@pytest.mark.parametrize(("kind", "query"), [("whisper", "q_proj"), ("ast", "q_proj"), ("w2v-bert", "linear_q")])
def test_so_it_does_of_a_base_that_takes_spectrograms(kind, query, speech, tmp_path):
    base = make_spectrogram_model(kind, tmp_path / "base")
    training = tune(base, speech, split_fold(speech, FOLD, 0.2, 0), tmp_path, targets=[query])
    windows = windows_of(speech.waveform(0))
    found = load(tmp_path / "fold-0")(windows)["speech"].values
    np.testing.assert_allclose(found, softmaxes_in_training(training, windows), atol=1e-5)
    assert found.shape[1] == len(LABELS)


def test_plain_transformers_and_peft_read_it(trained, base, speech):
    training, folder = trained
    labels = json.loads((folder / "labels.json").read_text())
    model = AutoModelForAudioClassification.from_pretrained(base, num_labels=len(labels))
    model = PeftModel.from_pretrained(model, folder).eval()
    prepare = AutoFeatureExtractor.from_pretrained(folder)
    windows = windows_of(speech.waveform(0))
    inputs = prepare(list(windows), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        found = model(input_values=inputs.input_values).logits.softmax(1).numpy()
    np.testing.assert_allclose(found, softmaxes_in_training(training, windows), atol=1e-5)
    assert labels == list(LABELS)


def test_its_card_says_who_was_heard_and_how_good_it_is(trained, speech):
    training, folder = trained
    bundle = read_bundle(str(folder))
    speakers = bundle.content["speakers"]
    assert set(bundle.tuned_on.heard) == {*speakers["train"], *speakers["selection"]} <= FOLD.train
    assert speakers["validation"] == ["g"]
    assert speakers["test"] == ["h"]
    assert bundle.labels == LABELS
    assert bundle.tuned_on.labeled == "tones"
    scores = bundle.content["scores"]
    assert np.sum(scores["recordings"]["confusion"]) == np.sum(scores["windows"]["confusion"]) == 6
    assert np.sum(scores["windows_of_3s"]["confusion"]) == 6
    assert min(bundle.content["temperatures"].values()) > 0
    assert bundle.content["best_epoch"] == training.best.epoch
    card = (folder / "README.md").read_text()
    assert f"| whole recordings | {scores['recordings']['uar']:.3f} |" in card
    assert "Never heard: speakers g, h" in card


def test_its_target_tells_a_student_whom_it_has_heard(trained):
    (target,) = load(trained[1]).targets
    bundle = read_bundle(str(trained[1]))
    assert target.tuned_on == bundle.tuned_on
    assert set(target.tuned_on.heard) <= FOLD.train
    assert (target.tuned_on.labeled, target.tuned_on.fold) == ("tones", 0)
    assert target.temperature == bundle.content["temperatures"]["0.5"]
    more = speech_kind.load("speech", speech_kind.Options(str(trained[1]), hears_s=2.5), CPU, "float32")
    assert more.targets[0].temperature == bundle.content["temperatures"]["3.0"]


def test_its_target_says_how_good_it_is_on_speakers_that_did_not_train_it(trained, speech):
    teacher = load(trained[1])
    selection = speech.of_speakers(read_bundle(str(trained[1])).content["speakers"]["selection"])
    # Of the windows that a student counts, those of speech.
    windows = [spoken_windows(speech.waveform(i), 0.5) for i in selection]
    means = np.stack([teacher(one)["speech"].values.mean(axis=0) for one in windows])
    truth, (target,) = speech.label_index[selection], teacher.targets
    assert target.held_out.uar == pytest.approx(recall_score(truth, means.argmax(axis=1), average="macro"), abs=1e-4)
    expected = confidence_auroc(with_temperature(means, target.temperature), truth)
    assert target.held_out.confidence_auroc == (expected if expected is None else pytest.approx(expected, abs=1e-3))
    assert (target.held_out.hears_s, target.held_out.recordings) == (0.5, len(selection))
    assert target.held_out.speakers == len({speech.speakers[i] for i in selection})
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


def test_a_teacher_that_was_tuned_on_a_test_speaker_behind_the_folds_back_is_refused(trained, base, speech, tmp_path):
    """The card lists whom the teacher has heard, not whom the fold says it should have."""
    refuse_leak(load(trained[1]).targets[0], "tones", FOLD.test | FOLD.validation)
    split = split_fold(speech, FOLD, 0.2, 0)
    leaky = replace(split, train=np.append(split.train, speech.of_speakers("h")[:1]))
    tune(base, speech, leaky, tmp_path)
    with pytest.raises(UserError, match="speakers h"):
        refuse_leak(load(tmp_path / "fold-0").targets[0], "tones", FOLD.test)


def test_a_teacher_of_half_of_the_labels_is_one_for_students_of_no_fewer(base, speech, tmp_path):
    training = tune(base, speech, None, tmp_path, labeled_fraction=0.5)
    split = training.task.split
    assert {*split.train, *split.selection} == {*training_recordings(speech, FOLD, 0.5)}
    (target,) = load(tmp_path / "fold-0").targets
    assert target.tuned_on.labeled_fraction == read_bundle(str(tmp_path / "fold-0")).tuned_on.labeled_fraction == 0.5
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target
    assert ", 50% of their recordings" in (tmp_path / "fold-0/README.md").read_text()
    assert more_labels(target, "tones", 0.5) == more_labels(target, "others", 0.25) == ""
    assert re.search(r"50% of tones's .* --train\.labeled_fraction 0\.25", more_labels(target, "tones", 0.25))


def test_a_folder_without_a_card_is_no_bundle(base):
    with pytest.raises(UserError, match=r"no bundle\.json"):
        read_bundle(str(base))


def test_a_base_from_the_hub_keeps_its_revision(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "snapshots" / commit
    name, revision = base_name("hf://facebook/hubert-base-ls960", snapshot)
    assert (name, revision) == ("facebook/hubert-base-ls960", commit)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name, "revision": revision}))
    assert base_address(tmp_path) == f"hf://facebook/hubert-base-ls960@{commit}"


def test_whom_its_own_teachers_have_heard_it_has_heard_too(trained, tmp_path):
    content = json.loads((trained[1] / "bundle.json").read_text())
    assert content["teachers"] == {}
    tuned = {"labeled": "cremad", "fold": 3, "heard": ["7"], "labeled_fraction": 1.0}
    for name, tuned_on, expected in (("speech", tuned, ["cremad/7"]), ("face", None, None)):
        content["teachers"] = {name: {"tuned_on": tuned_on}}
        (tmp_path / "bundle.json").write_text(json.dumps(content))
        found = read_bundle(str(tmp_path)).tuned_on
        assert (found and found.heard_of("cremad", ["7", "8"])) == expected
