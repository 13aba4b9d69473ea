"""A classifier is scored as its users would hear it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import soundfile
from job_scripts import load_job
from small_students import ATTRIBUTES, write_student
from tones import tone

from liser_ray.evaluation.conditions import CONDITIONS, heard_as
from liser_ray.evaluation.config import EvaluationConfig
from liser_ray.evaluation.job import evaluate
from liser_ray.prediction.student import Student
from liser_ray.results.metrics import concordance, concordance_sums, uar
from liser_ray.results.records import read_records
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import NetworkConfig

JOB = Path(__file__).parents[2] / "jobs/evaluate.py"
SPEAKERS = ("1", "3", "4", "5")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Tones between silence by four speakers: "anger", "joy" and "boredom", two of each."""
    folder = tmp_path_factory.mktemp("set")
    rows = []
    for speaker in SPEAKERS:
        for number, label in enumerate(("anger", "joy", "boredom") * 2):
            rng = np.random.default_rng((int(speaker), number))
            path = folder / f"{speaker}-{number}.wav"
            sound = np.pad(tone(number % 3, rng.uniform(1.2, 4), rng), 4000)
            soundfile.write(path, sound, 16_000)
            arousal = "" if speaker == "5" else number
            rows.append((path.name, label, speaker, "f" if speaker in "13" else "m", arousal))
    with (folder / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker", "sex", "arousal"), *rows])
    return folder / "mine.csv"


@pytest.fixture(scope="module")
def students(tmp_path_factory) -> Path:
    """Two students of two folds, who say that they were trained on the set, and one of all speakers."""
    folder = tmp_path_factory.mktemp("students")
    config = NetworkConfig(normalisation="speech")
    for fold, test in enumerate((["4"], ["5", "1"])):
        others = [one for one in SPEAKERS if one not in test]
        parts = {"train": others[1:], "validation": others[:1], "test": test}
        write_student(folder / f"seed-3-fold-{fold}", config, seed=3, labeled="mine", fold=fold, speakers=parts)
    everybody = {"train": SPEAKERS, "validation": [], "test": []}
    write_student(folder / "seed-3-all", config, seed=3, labeled="mine", fold=-1, speakers=everybody)
    return folder


def test_students_are_scored_on_the_speakers_whom_they_have_not_heard(manifest, students, tmp_path):
    config = EvaluationConfig(str(students), str(manifest), str(tmp_path), ("recorded", "trimmed"))
    content = evaluate(config).content
    assert set(content["conditions"]) == {"recorded", "trimmed"}
    recorded = content["conditions"]["recorded"]
    assert set(recorded["speakers"]) == {"1", "4", "5"}
    assert content["labels"]["names"] == ("anger", "joy")
    assert content["labels"]["only_set"] == ("boredom",)
    by_hand = np.zeros((2, 2), int)
    for fold, speakers in enumerate(("4", "51")):
        student = Student.from_pretrained(students / f"seed-3-fold-{fold}")
        kept = [student.labels.index("angry"), student.labels.index("happy")]
        for speaker in speakers:
            for number in (0, 1, 3, 4):
                sound, rate = soundfile.read(manifest.parent / f"{speaker}-{number}.wav", dtype="int16")
                by_hand[number % 3, student.predict(sound, rate).probabilities[kept].argmax()] += 1
    assert recorded["confusion"] == by_hand.tolist()
    assert recorded["uar"] == pytest.approx(uar(by_hand))
    assert 0 <= recorded["calibration_error"] <= 1
    assert 0 <= recorded["brier_score"] <= 2
    assert set(recorded["sexes"]) == {"man", "woman"}
    (record,) = read_records(str(tmp_path / "records/trimmed"))
    assert (record.seed, len(record.folds)) == (3, 2)
    assert json.loads((tmp_path / "evaluation.json").read_text())["conditions"]["recorded"]["uar"] == recorded["uar"]
    assert "| as recorded | " in (tmp_path / "evaluation.md").read_text()
    assert (tmp_path / "evaluation.png").read_bytes()[1:4] == b"PNG"
    validation = evaluate(EvaluationConfig(str(students), str(manifest), str(tmp_path / "v"), speakers="validation"))
    assert set(validation.content["conditions"]["recorded"]["speakers"]) == {"1", "3"}


def test_a_classifier_of_another_set_is_asked_about_everybody(manifest, tmp_path):
    student = write_student(tmp_path / "student", attributes=ATTRIBUTES)
    (tmp_path / "student.onnx").write_bytes(Student.from_pretrained(student).export_onnx())
    found = []
    for model in ("student", "student.onnx"):
        config = EvaluationConfig(str(tmp_path / model), str(manifest), str(tmp_path / "out" / model))
        found.append(evaluate(config).content["conditions"]["recorded"])
    assert set(found[0]["speakers"]) == set(SPEAKERS)
    assert found[0]["confusion"] == found[1]["confusion"]
    assert found[0]["brier_score"] == pytest.approx(found[1]["brier_score"], abs=1e-4)
    asked = [(name, number) for name in "134" for number in (0, 1, 3, 4)]  # of anger and joy, whose arousal is known
    files = [str(manifest.parent / f"{name}-{number}.wav") for name, number in asked]
    said = [Student.from_pretrained(student).predict_file(file).attributes["arousal"] for file in files]
    by_hand = concordance(concordance_sums(np.array([number for _, number in asked]), np.array(said)))
    assert [one["ccc"] for one in found] == [{"arousal": pytest.approx(by_hand, abs=1e-5)}] * 2
    assert "| CCC arousal |" in (tmp_path / "out/student/evaluation.md").read_text()


def test_whom_a_students_teachers_have_heard_is_no_stranger_to_it(manifest, tmp_path):
    tuned_on = {"labeled": "mine", "fold": 0, "heard": ["1", "3"]}
    nobody = {"labeled": "", "fold": 0, "heard": []}
    teachers = {"speech": {"tuned_on": tuned_on}, "face": {"tuned_on": None}, "energy": {"tuned_on": nobody}}
    student = write_student(tmp_path / "student", teachers=teachers)
    for speakers, asked in (("test", {"4", "5"}), ("all", set(SPEAKERS))):
        config = EvaluationConfig(str(student), str(manifest), str(tmp_path / "out"), speakers=speakers)
        assert set(evaluate(config).content["conditions"]["recorded"]["speakers"]) == asked


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_is_the_same_each_time_and_finite(name):
    rng = np.random.default_rng(0)
    waveforms = [np.pad(tone(k % 3, 1.0, rng), 8000) for k in range(3)]
    found = [heard_as(name, 0, waveforms, ("a", "b", "c"), seed=0) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).all()
    assert found[0].dtype == np.float32
    if name != "recorded":
        recorded = waveforms[0].astype(np.float32) / 32768
        assert found[0].shape != recorded.shape or np.abs(found[0] - recorded).max() > 1e-3


def test_where_there_is_one_speaker_nobody_else_talks(manifest, tmp_path, caplog):
    student, alone = write_student(tmp_path / "student"), tmp_path / "alone.csv"
    rows = [f"{manifest.parent}/1-{number}.wav,{label},1" for number, label in enumerate(("anger", "joy"))]
    alone.write_text("\n".join(["path,label,speaker", *rows]))
    config = EvaluationConfig(str(student), str(alone), str(tmp_path / "out"), ("recorded", "babble10", "babble20"))
    assert [*evaluate(config).records] == ["recorded"]
    assert "alone has one speaker: babble10 and babble20, of others who talk, is left out." in caplog.text
    with pytest.raises(UserError, match="babble20 is of others who talk, and alone has one speaker"):
        evaluate(replace(config, conditions=("babble20",)))


def test_a_wrong_step_is_said_before_a_set_is_read(tmp_path):
    student = write_student(tmp_path / "student")
    with pytest.raises(UserError, match="step"):
        evaluate(EvaluationConfig(str(student), str(tmp_path / "missing.csv"), str(tmp_path / "out"), step_s=0.25))


def test_what_the_hub_has_is_called_as_there(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repo, revision = tmp_path / "hub/models--lab--small", "b" * 40
    write_student(repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(revision)
    for address in ("hf://lab/small", f"hf://lab/small@{revision}"):
        content = evaluate(EvaluationConfig(address, str(manifest), str(tmp_path / "out"))).content
        assert [one["name"] for one in content["classifiers"]] == ["small"]


@pytest.mark.parametrize(
    ("changed", "words"), [({"conditions": ()}, "conditions: give all"), ({"seed": -1}, "seed is -1")]
)
def test_settings_that_say_nothing_are_refused(manifest, tmp_path, changed, words):
    with pytest.raises(UserError, match=words):
        evaluate(EvaluationConfig("none", str(manifest), str(tmp_path / "out"), **changed))


def test_what_can_not_be_evaluated_is_said(manifest, tmp_path):
    lonely = write_student(tmp_path / "lonely", labeled="mine", speakers={"train": ["1"], "validation": [], "test": []})
    for model, words in ((lonely, "--speakers all"), (manifest.parent, "no classifier")):
        with pytest.raises(UserError, match=words):
            evaluate(EvaluationConfig(str(model), str(manifest), str(tmp_path / "out")))


def test_of_attributes_alone_numbers_are_compared_whatever_labels_there_are(manifest, tmp_path):
    student = write_student(tmp_path / "student", labels=["speech"], attributes=ATTRIBUTES)
    config = EvaluationConfig(str(student), str(manifest), str(tmp_path / "out"))
    recorded = evaluate(config).content["conditions"]["recorded"]
    assert recorded["ccc"].keys() == {"arousal"}
    others = tmp_path / "others.csv"
    others.write_text(f"path,label,speaker\n{manifest.parent}/1-0.wav,anger,1\n")
    with pytest.raises(UserError, match="others has none of arousal"):
        evaluate(replace(config, labeled=str(others)))
    others.write_text(f"path,label,speaker,arousal,votes.anger\n{manifest.parent}/1-0.wav,anger,1,2,3\n")
    assert evaluate(replace(config, labeled=str(others))).content["conditions"]["recorded"]["ccc"].keys() == {"arousal"}
    assert np.sum(recorded["confusion"]) == 24


def test_students_that_do_not_compare_are_refused_before_they_are_asked(manifest, tmp_path):
    others = {"train": ["3"], "validation": ["5"]}
    for seed, test in ((0, ["1", "4"]), (1, ["1"])):
        folder = tmp_path / f"seed-{seed}-fold-0"
        write_student(folder, seed=seed, labeled="mine", fold=0, speakers={**others, "test": test})
    with pytest.raises(UserError, match="train the folds that are missing"):
        evaluate(EvaluationConfig(str(tmp_path), str(manifest), str(tmp_path / "out")))


def test_the_job_prints_a_table(manifest, tmp_path, capsys):
    student = write_student(tmp_path / "student", NetworkConfig(normalisation="speech"))
    arguments = ["--model", student, "--labeled", manifest, "--output", tmp_path / "out"]
    arguments += ["--conditions", "recorded", "middle1s"]
    load_job(JOB).main([str(one) for one in arguments])
    text = capsys.readouterr().out
    assert all(CONDITIONS[name].words in text for name in ("recorded", "middle1s"))
    assert "recordings of boredom" in text
    assert "angry=anger" in text


def test_what_is_silent_in_a_condition_is_left_out_and_said(tmp_path):
    """One recording of the four is so soft that 20 dB less are silence."""
    rows = []
    for number in range(4):
        sound = tone(number % 2, 1.0, np.random.default_rng(number)) // (2000 if number == 3 else 1)
        soundfile.write(tmp_path / f"{number}.wav", sound, 16_000)
        rows.append((f"{number}.wav", ("angry", "sad")[number % 2], str(number // 2)))
    with (tmp_path / "soft.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker"), *rows])
    student = write_student(tmp_path / "student", NetworkConfig(normalisation="speech"))
    config = EvaluationConfig(str(student), str(tmp_path / "soft.csv"), str(tmp_path / "out"), ("recorded", "softer20"))
    conditions = evaluate(config).content["conditions"]
    assert [one["unheard"] for one in conditions.values()] == [0, 1]
    assert np.sum(conditions["softer20"]["confusion"]) == 3
    assert "silent then: 1 recordings, 20 dB softer" in (tmp_path / "out/evaluation.md").read_text()
