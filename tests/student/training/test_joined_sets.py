"""One student of several labeled sets: tones of eight speakers, and calls of three others who have no middle tone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_labels import speech_target, write_labels
from tone_files import speakers_of, write_calls

from liser_ray.commands.settings import parse_settings
from liser_ray.evaluation.config import EvaluationConfig
from liser_ray.evaluation.job import evaluate
from liser_ray.results.records import read_records
from liser_ray.results.scores import interval
from liser_ray.runtime.errors import UserError
from liser_ray.student.card import StudentCard, model_card
from liser_ray.student.training.config import AugmentConfig, RunJob, StudentConfig, TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.job import check, make_inputs, train_students
from liser_ray.student.training.report import print_result
from liser_ray.student.training.run import make_training
from liser_ray.training.fit import ProcessGroup, validation_scores

TRAIN = TrainConfig(epochs=2, batch_size=8, learning_rate=2e-3, class_weights="balanced")
NAME = "no-dstl+on-tones-calls"
CALLS = ("deep", "high")


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    return write_calls(tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def config(tones, calls, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("joined"))
    return StudentConfig([tones, calls], output=output, recipe="no-dstl", label_map=["deep=low"], train=TRAIN)


@pytest.fixture(scope="module")
def trained(config):
    return train_students(config)


def card_of(config, fold):
    return json.loads(Path(config.output, f"seed-0-fold-{fold}/student.json").read_text())


def test_a_record_of_each_set_with_its_own_labels_and_speakers(config, trained):
    assert trained.trained == ("seed-0-fold-0", "seed-0-fold-1", "seed-0-fold-2")
    of_calls, of_tones = read_records(f"{config.output}/records")
    assert {of_calls.recipe, of_tones.recipe, trained.name} == {NAME}
    assert (of_tones.labeled, of_tones.labels) == ("tones", ("high", "low", "middle"))
    assert (of_calls.labeled, of_calls.labels) == ("calls", CALLS)
    assert [list(fold.confusions) for fold in of_tones.folds] == [speakers_of(0), speakers_of(1)]
    assert [list(fold.confusions) for fold in of_calls.folds] == [["a"], ["b"], ["c"]]
    assert sum(counts.sum() for counts in of_tones.confusions.values()) == 24
    assert of_calls.sexes == dict.fromkeys("abc", "woman")
    assert of_tones.sexes == {}
    for record in (of_calls, of_tones):
        assert 0 <= interval([record], "uar").value <= 1
    data = of_calls.content["recipe"]["data"]["labeled"]["sets"]
    assert data["calls"] == {"recordings": 12, "labels": {"deep": "low", "high": "high"}}


def test_the_card_says_which_sets_and_labels(config, trained):
    card = card_of(config, 2)
    assert (card["labeled"], card["labels"]) == ("tones+calls", ["high", "low", "middle"])
    assert card["speakers"]["test"] == ["calls/c"]
    assert set(card["speakers"]["train"]) == {"calls/a", "calls/b", *(f"tones/{one}" for one in "abcdefgh")}
    assert card["sets"]["calls"]["recordings"] == 8
    assert card["sets"]["tones"]["validation_uar"] is None  # nobody validates a fold with so few speakers
    confusion = np.sum(list(card["confusions"].values()), axis=0)
    assert not confusion[:, 2].any()  # nobody was asked for a middle tone
    card = card_of(config, 0)
    assert card["sets"]["tones"]["validation_uar"] == card["validation_uar"]
    assert card["temperature_recordings"] == 3
    text = model_card(StudentCard.parse(json.dumps(card), "card"), "mine")
    assert "* Of calls 8 recordings with the labels deep (low), high." in text
    assert "On 4 recordings of 1 test speakers of calls, whom neither" in text


def test_the_same_command_does_nothing_and_the_report_has_both_sets(config, trained, capsys):
    again = train_students(config)
    assert again.trained == ()
    print_result(again)
    printed = capsys.readouterr().out
    for labeled in ("tones", "calls"):
        assert f"{NAME} of {labeled}: UAR" in printed


def test_an_evaluation_on_one_of_the_sets_asks_its_test_speakers_alone(config, trained, calls, tmp_path):
    settings = {"labeled": calls, "output": str(tmp_path), "label_map": ("low=deep",)}
    found = evaluate(EvaluationConfig(config.output, **settings))
    (record,) = found.records["recorded"]
    (of_calls, _) = read_records(f"{config.output}/records")
    assert record.labels == CALLS
    for speaker, counts in record.confusions.items():
        assert of_calls.confusions[speaker].sum() == counts.sum() == 4


def test_a_student_of_everybody_has_the_scores_of_each_set(config, trained):
    train_students(replace(config, folds="none"))
    card = json.loads(Path(config.output, "seed-0-all/student.json").read_text())
    assert not card["speakers"]["test"]
    assert {name: one["speakers"] for name, one in card["cross_validated_on"].items()} == {"tones": 8, "calls": 3}
    text = model_card(StudentCard.parse(json.dumps(card), "card"), "mine")
    assert "each on speakers of calls whom it has not heard (3 speakers, 1 seeds)" in text


def task_of(config, fold, **train):
    given = replace(config, train=replace(TRAIN, **train))
    inputs = make_inputs(given, check(given))
    return make_training(RunJob(given, fold, 0, ""), inputs, ProcessGroup.alone()).task


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_each_set_weighs_the_same_in_an_epoch_and_so_does_each_of_its_labels_if_balanced(config, class_weights):
    task = task_of(config, 1, class_weights=class_weights)
    sums = [torch.zeros(3), torch.zeros(3)]
    for step in task.steps(1):
        targets = step.parts[0].targets
        for into, of, truth in zip(sums, task._sets, targets.truth.split(targets.sizes), strict=True):
            into.index_add_(0, truth, of.weights[torch.searchsorted(of.places, truth)])
    n = len(task.labeled.train)
    assert [float(one.sum()) for one in sums] == pytest.approx([n / 2] * 2)
    assert sums[1].tolist() == pytest.approx([n / 4, n / 4, 0])  # calls have as many of each


def test_recordings_of_a_set_stand_together_and_are_mixed_with_one_another_alone(config):
    task = task_of(config, 1, augment=AugmentConfig(mixup_alpha=0.5))
    for step in task.steps(1):
        targets = step.parts[0].targets
        _, of_calls = targets.truth.split(targets.sizes)
        torch.testing.assert_close(targets.truth.sum(dim=1), torch.ones(len(targets.truth)))
        assert not of_calls[:, 2].any()


def test_validation_is_the_mean_over_the_sets_of_what_each_set_has_labels_for(config):
    """Fold 0 validates a speaker of tones alone, so here everybody does."""
    checked = check(config)
    everybody = np.arange(len(checked.speech))
    recordings = EvaluationSet(checked.speech, everybody, "none", torch.device("cpu"))
    task = task_of(config, 0)
    task.validation = recordings
    logits, of_calls = recordings.logits(task.model.classifier.eval()), checked.speech.part_index == 1
    assert np.isneginf(logits[of_calls, 2]).all()
    assert np.isfinite(logits[~of_calls]).all()
    by_set = [
        validation_scores(logits[~of_calls], recordings.truth[~of_calls]),
        validation_scores(logits[of_calls][:, :2], recordings.truth[of_calls]),
    ]
    assert task.validate(task.model, "float32") == pytest.approx(np.mean(by_set, axis=0))


def test_teachers_of_one_of_the_sets_teach_on_its_folds_and_where_it_trains_whole(config, tone_labels, tmp_path):
    taught = replace(config, unlabeled=tone_labels, recipe="sp-dstl", folds="0", output=str(tmp_path))
    train_students(taught)
    card = card_of(taught, 0)
    assert card["teachers"]["speech"]["tuned_on"]["labeled"] == "tones"
    assert card["teachers"]["speech"]["tuned_on"]["fold"] == 0
    train_students(replace(taught, folds="2"))
    card = card_of(taught, 2)
    assert all(speaker.startswith("calls/") for part in ("validation", "test") for speaker in card["speakers"][part])
    assert card["teachers"]["speech"]["tuned_on"]["labeled"] == "tones"


def test_a_teacher_that_heard_a_test_speaker_of_one_of_the_sets_is_refused(config, tmp_path):
    heard = speech_target("speech", CALLS, 1, ("a", "c"), "calls")
    write_labels(tmp_path / "labels", rows=6, targets=(heard,))
    given = replace(config, unlabeled=str(tmp_path / "labels"), recipe="sp-dstl", output=str(tmp_path / "students"))
    assert check(replace(given, folds="1")).targets[1]["speech"].tuned_on.heard == ("a", "c")
    with pytest.raises(UserError, match="was tuned on speakers a of calls"):
        train_students(replace(given, folds="0"))


@pytest.mark.parametrize("one", ["ravdess:data/RAVDESS", "mine.csv"])
def test_one_or_several_on_the_command_line_and_in_a_file(one, tmp_path):
    """A file that has one as text, as older ones do, too."""

    def parsed(*arguments):
        return parse_settings(StudentConfig, "", arguments, lists=("--labeled", "--label_map"))

    assert parsed("--labeled", one).labeled == [one]
    several = parsed("--labeled", one, "s3://b/cremad", "--label_map", "a=b", "c=d")
    assert (several.labeled, several.label_map) == ([one, "s3://b/cremad"], ["a=b", "c=d"])
    for text, wanted in ((one, one), (f"[{one!r}, b.csv]", [one, "b.csv"])):
        (tmp_path / "student.yaml").write_text(f"labeled: {text}\n")
        assert parsed("--config", str(tmp_path / "student.yaml")).labeled == wanted
