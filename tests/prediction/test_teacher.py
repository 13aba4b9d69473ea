"""Trained students as a teacher."""

import numpy as np
import pytest
import torch
from small_students import EMOTIONS, write_student
from tones import tone

from liser_ray.prediction.student import Student
from liser_ray.prediction.student_teacher import StudentTeacher
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import NetworkConfig
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.targets import HeldOut, TunedOn
from liser_ray.teachers.windows import sound_windows


def load(address: object, **settings) -> StudentTeacher:
    (entry,) = read_teachers({"own": {"kind": "student", "weights": str(address), **settings}})
    assert entry.takes == "sound"
    return entry.load(torch.device("cpu"))


@pytest.fixture
def pcm() -> np.ndarray:
    """4 s of three tones."""
    rng = np.random.default_rng(0)
    return np.concatenate([tone(label, 4 / 3, rng) for label in range(3)])


@pytest.mark.numerics
@pytest.mark.parametrize("normalisation", ["none", "utterance", "speech"])
def test_it_says_of_a_window_what_the_student_says_of_3_s(tmp_path, pcm, normalisation):
    folder = write_student(tmp_path / "student", NetworkConfig(normalisation=normalisation))
    teacher, student = load(folder, batch_size=3), Student.from_pretrained(folder)
    (target,) = teacher.targets
    assert (target.name, target.kind, target.labels) == ("own", "distribution", EMOTIONS)
    assert (target.window_s, target.hop_s, teacher.hears_s) == (0.5, 0.5, 3.0)
    windows, start_s = sound_windows(pcm, target.window_s, target.hop_s, teacher.hears_s)
    found = teacher(windows)["own"].values
    assert found.shape == (len(start_s), 8)
    for one, window in zip(found, windows, strict=True):
        np.testing.assert_allclose(one, student.predict(window, 16_000).probabilities, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01
    assert teacher(windows[:0])["own"].values.shape == (0, 8)


def test_students_of_a_pattern_and_whom_they_have_heard(tmp_path, pcm):
    speakers = {"train": ["1", "2"], "validation": ["3"], "test": ["4"]}
    for fold in (0, 1):
        write_student(tmp_path / f"fold-{fold}", seed=fold, fold=fold, speakers=speakers)
    teacher = load(tmp_path / "fold-*")
    first, second = teacher.targets
    assert (first.name, second.name, first.teacher) == ("own_fold_0", "own_fold_1", "own")
    assert second.tuned_on == TunedOn("ravdess", 1, ("1", "2", "3"))
    assert first.held_out == HeldOut(0.5, None)
    assert first.sha256 != second.sha256
    assert set(teacher(sound_windows(pcm, 0.5, 0.5, 3.0)[0])) == {"own_fold_0", "own_fold_1"}


def test_whom_its_own_teachers_have_heard_it_has_heard_too(tmp_path):
    speakers = {"train": ["1"], "validation": ["3"], "test": ["4"]}
    tuned = {"labeled": "ravdess", "fold": 0, "heard": ["7", "13"], "labeled_fraction": 0.5}
    facts = {"recipe": {"train": {"labeled_fraction": 0.25}}}
    teachers = {"speech": {"tuned_on": tuned}, "energy": {"tuned_on": {"labeled": "", "fold": 0, "heard": []}}}
    folder = write_student(tmp_path / "taught", labeled="cremad", speakers=speakers, teachers=teachers, facts=facts)
    (target,) = load(folder).targets
    assert target.tuned_on.labeled_fraction == 0.25  # of its own set
    assert target.tuned_on.heard_of("ravdess", ["7", "18"]) == ["ravdess/7"]
    assert target.tuned_on.heard_of("cremad", ["1", "2"]) == ["cremad/1"]
    trusting = write_student(tmp_path / "trusting", speakers=speakers, teachers={"face": {"tuned_on": None}})
    assert load(trusting).targets[0].tuned_on is None


def test_a_student_that_does_not_say_whom_it_has_heard(tmp_path):
    (target,) = load(write_student(tmp_path / "student", speakers={}, validation_uar=None)).targets
    assert (target.tuned_on, target.held_out) == (None, None)


def test_no_student(tmp_path):
    with pytest.raises(UserError, match=r"Weights not found.*student=student:"):
        load(tmp_path / "none")
    with pytest.raises(UserError, match="No folder matches"):
        load(tmp_path / "fold-*")
