"""Students that teach: several together behind the same call as HuBERT, in the labeling stage and in training."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_students import EMOTIONS, write_student
from small_teachers import make_speech_base
from tones import tone
from transformers import AutoModelForAudioClassification

from liser_ray.corpora.folds import Fold
from liser_ray.errors import UserError
from liser_ray.labeling.schema import empty_column, labels_schema
from liser_ray.labeling.speech_stage import SpeechStage
from liser_ray.media.flac import encode_flac
from liser_ray.media.span import digest
from liser_ray.prediction.student import Student
from liser_ray.student.config import NetworkConfig
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import train_students
from liser_ray.student.training.run import training_speakers
from liser_ray.teachers.bundles import read_bundle, refuse_leak
from liser_ray.teachers.speech import WINDOW_SAMPLES, load_speech_teachers, speech_windows
from liser_ray.teachers.student_bundles import StudentTeachersConfig, make_student_teachers
from liser_ray.teachers.students import HEARS_SAMPLES

NETWORK = NetworkConfig("attention", "utterance-mean", filters=(4, 6, 8), hidden_size=6, bidirectional=True)
PCM = tone(1, 4.2, np.random.default_rng(0))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A teacher of two students."""
    folder = tmp_path_factory.mktemp("teachers") / "fold-0"
    for seed in (0, 1):
        write_student(folder / f"students/seed-{seed}-fold-0", NETWORK, seed)
    speakers = {"train": ["1", "2"], "selection": [], "test": ["4"]}
    card = {"format": 1, "labeled": "ravdess", "labels": EMOTIONS, "fold": 0, "temperature": 2.0, "speakers": speakers}
    (folder / "bundle.json").write_text(json.dumps(card))
    return folder


def test_its_answer_is_the_mean_of_what_its_students_say_of_the_3_s_around(teacher):
    teachers = load_speech_teachers([str(teacher)])
    assert teachers.hears_samples == HEARS_SAMPLES == 48_000
    windows, start_s = speech_windows(PCM, HEARS_SAMPLES)
    students = [Student.from_pretrained(one) for one in sorted((teacher / "students").iterdir())]
    said = [[student.predict(window, 16_000).probabilities for student in students] for window in windows]
    np.testing.assert_allclose(teachers(windows)["fold_0"], np.mean(said, axis=1), atol=1e-4)
    assert len(start_s) == 8


def test_temperature_is_its_bundles_where_it_is_asked_for(teacher):
    windows, _ = speech_windows(PCM, HEARS_SAMPLES)
    plain = load_speech_teachers([str(teacher)])(windows)["fold_0"]
    calibrated = load_speech_teachers([str(teacher)], calibrated=True)(windows)["fold_0"]
    assert (calibrated.max(axis=1) < plain.max(axis=1)).all()  # at temperature 2 it is less sure


def test_beside_hubert_each_hears_what_it_hears_alone(teacher, tmp_path):
    base = make_speech_base(tmp_path / "base")
    named = {"id2label": {0: "loud", 1: "quiet"}, "label2id": {"loud": 0, "quiet": 1}}
    AutoModelForAudioClassification.from_pretrained(base, **named).save_pretrained(tmp_path / "hubert")
    hubert = str(tmp_path / "hubert")
    both = load_speech_teachers([hubert, str(teacher)])(speech_windows(PCM, HEARS_SAMPLES)[0])
    alone = load_speech_teachers([hubert])(speech_windows(PCM)[0])
    np.testing.assert_allclose(both["hubert"], alone["hubert"], atol=1e-6)


@given(n_samples=st.integers(1, 60_000))
def test_what_is_around_a_window_has_it_in_its_middle_and_silence_outside(n_samples):
    pcm = np.random.default_rng(n_samples).integers(-30_000, 30_000, n_samples).astype(np.int16)
    windows, start_s = speech_windows(pcm)
    wider, same_start_s = speech_windows(pcm, HEARS_SAMPLES)
    edge = (HEARS_SAMPLES - WINDOW_SAMPLES) // 2
    np.testing.assert_array_equal(wider[:, edge : edge + WINDOW_SAMPLES], windows)
    np.testing.assert_array_equal(same_start_s, start_s)
    silence = np.zeros(HEARS_SAMPLES, np.int16)
    whole = np.concatenate([silence[:edge], pcm, silence])
    for number, heard in enumerate(wider):
        start = number * WINDOW_SAMPLES
        np.testing.assert_array_equal(heard * 32768, whole[start : start + HEARS_SAMPLES])


def test_the_labeling_stage_takes_it(teacher):
    schema = labels_schema(("happy",), {"fold_0": EMOTIONS}, pa.schema([]), {})
    row = {"audio": encode_flac(PCM), "content_hash": digest(PCM) + "0" * 32}
    columns = [pa.array([row[one.name]], one.type) if one.name in row else empty_column(one.type, 1) for one in schema]
    labeled = SpeechStage([str(teacher)], "float32", 8)(pa.Table.from_arrays(columns, schema=schema))
    assert labeled["status"].to_pylist() == [""]
    expected = load_speech_teachers([str(teacher)])(speech_windows(PCM, HEARS_SAMPLES)[0])["fold_0"]
    np.testing.assert_allclose(labeled["speech_probs"][0].as_py()["fold_0"], expected, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.25, 0.5])
def test_so_many_seeds_as_parts_leave_each_speaker_out_once(share):
    fold = Fold(3, frozenset(map(str, range(17))), frozenset("x"), frozenset("y"))
    left_out = [fold.train - training_speakers(fold, share, seed) for seed in range(round(1 / share))]
    assert sorted(speaker for one in left_out for speaker in one) == sorted(fold.train)
    assert training_speakers(fold, 0.0, 5) == fold.train


class TestMaking:
    TRAIN = TrainConfig(epochs=2, batch_size=8, learning_rate=2e-3, keep="last", held_out_speakers=0.5)

    @pytest.fixture(scope="class")
    def students(self, tones, tmp_path_factory) -> StudentConfig:
        output = str(tmp_path_factory.mktemp("students"))
        config = StudentConfig(tones, "", output, "no-dstl", seeds="0,1", train=self.TRAIN, network=NETWORK)
        train_students(config)
        return config

    def test_a_teacher_for_each_fold_that_says_whom_it_has_heard(self, students, tones, tmp_path):
        cards = make_student_teachers(StudentTeachersConfig(students.output, tones, str(tmp_path)))
        assert sorted(cards) == [0, 1]
        for number, card in cards.items():
            folder = tmp_path / f"fold-{number}"
            tuning = read_bundle(str(folder)).tuning
            assert (tuning.labeled, tuning.fold, tuning.temperature) == ("tones", number, card["temperature"])
            assert tuning.students == 2
            refuse_leak(tuning, "tones", card["speakers"]["test"])
            elders = [json.loads(path.read_text()) for path in sorted(folder.glob("students/*/student.json"))]
            assert [one["seed"] for one in elders] == card["seeds"] == [0, 1]
            held_out = [set(one["speakers"]["held_out"]) for one in elders]
            assert not held_out[0] & held_out[1]
            assert held_out[0] | held_out[1] == set(tuning.heard)
            assert card["n_calibration_windows"] > 0
            assert card["temperature"] != 1.0
            assert card["scores"]["n_recordings"] == np.sum(card["scores"]["confusion"])
        load_speech_teachers([f"{tmp_path}/fold-*"])

    def test_students_that_validation_speakers_picked_can_not_teach(self, students, tones, tmp_path):
        card = next(Path(students.output).glob("*/student.json"))
        content = json.loads(card.read_text())
        content["facts"]["recipe"]["train"]["keep"] = "best"
        folder = tmp_path / "students" / card.parent.name
        folder.mkdir(parents=True)
        (folder / "student.json").write_text(json.dumps(content))
        (folder / "student.safetensors").write_bytes((card.parent / "student.safetensors").read_bytes())
        with pytest.raises(UserError, match="keep last"):
            make_student_teachers(StudentTeachersConfig(str(tmp_path / "students"), tones, str(tmp_path / "out")))

    def test_a_folder_without_students(self, tones, tmp_path):
        with pytest.raises(UserError, match="no students"):
            make_student_teachers(StudentTeachersConfig(str(tmp_path), tones, str(tmp_path / "out")))
