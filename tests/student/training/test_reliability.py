import json
import logging
from dataclasses import replace

import pytest
from small_labels import FACE, SPEECH_LABELS, speech_target

from liser_ray.runtime.errors import UserError
from liser_ray.student.training.reliability import judge_teachers
from liser_ray.teachers.targets import HeldOut, Target


def folds(*uars, auroc=0.7, face=None):
    """Targets by fold and name: of speech with these UARs, and of a face teacher that says nothing or ``face``."""
    return {
        fold: {
            "speech": replace(speech_target(f"speech_fold_{fold}", fold=fold), held_out=uar and HeldOut(uar, auroc)),
            "face": replace(FACE, held_out=face),
        }
        for fold, uar in enumerate(uars)
    }


@pytest.fixture
def judge(caplog):
    """Who is left out, and the warnings."""

    def judged(by_fold, min_uar=0.0, weighted=True, gate=False):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            left_out = judge_teachers(by_fold, min_uar, weighted, gate)
        return left_out, caplog.messages

    return judged


def test_the_mean_over_the_folds_decides_on_all_of_them(judge):
    assert judge(folds(0.5, 0.7), 0.6) == (set(), ["The teacher face stays, although it does not say how good it is."])
    left_out, words = judge(folds(0.5, 0.69), 0.6)
    assert left_out == {"speech"}
    assert words[0] == "The teacher speech is left out: its UAR is 0.595, below 0.6."


def test_by_default_all_stay_and_nothing_is_said_of_good_ones(judge):
    assert judge(folds(0.31, 0.9)) == judge(folds(None, None)) == judge({}) == (set(), [])


def test_a_fold_at_chance_is_named_whatever_the_mean(judge):
    left_out, (words,) = judge(folds(0.9, 1 / len(SPEECH_LABELS) + 0.05))
    assert left_out == set()
    assert "teacher of speech_fold_1 is hardly better than chance (0.250)" in words
    assert "0.300" in words


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ((0.5, 3, 48), "recordings that did not train it (48 of 3 speakers, in windows of 0.5 s) is 0.062"),
        ((3.0, 3, 48), "(48 of 3 speakers, in windows of 0.5 s heard with 3 s around them) is 0.062"),
        ((), "recordings that did not train it is 0.062"),  # tables from before it was told
    ],
)
def test_who_is_at_chance_says_where_that_was_measured(judge, known, words):
    target = replace(speech_target("speech_fold_1", fold=1), held_out=HeldOut(0.0619, None, *known))
    assert words in judge({1: {"speech": Target.from_json(json.loads(json.dumps(target.to_json())))}})[1][0]
    assert set(target.to_json()["held_out"]) >= {"uar", "confidence_auroc"}
    assert known or len(target.to_json()["held_out"]) == 2  # such tables go on


def test_the_gate_leaves_out_who_is_at_chance_in_the_mean(judge):
    face = HeldOut(0.7, None)
    left_out, words = judge(folds(0.26, 0.32, face=face), gate=True)
    assert left_out == {"speech"}
    assert "teacher of speech_fold_0 is hardly better than chance (0.250)" in words[0]
    assert words[1] == "The teacher speech is left out: its UAR is 0.290, chance 0.250."
    assert judge(folds(0.26, 0.36, face=face), gate=True)[0] == set()
    assert judge(folds(0.26, 0.32, face=face))[0] == set()
    left_out, words = judge(folds(0.9, face=None), gate=True)
    assert (left_out, words) == (set(), ["The teacher face stays, although it does not say how good it is."])
    with pytest.raises(UserError, match=r"and more than chance, but speech 0\.290, face 0\.150: .* or no --gate"):
        judge(folds(0.29, face=HeldOut(0.15, None)), gate=True)


def test_a_confidence_that_tells_nothing_is_named_if_it_weighs(judge):
    _, words = judge(folds(0.6, 0.6, auroc=0.5))
    assert ["speech_fold_0" in words[0], "speech_fold_1" in words[1], len(words)] == [True, True, 2]
    assert "tells nothing" in words[0]
    assert judge(folds(0.6, 0.6, auroc=0.5), weighted=False) == judge(folds(0.6, auroc=None)) == (set(), [])


def test_one_teacher_of_all_folds_is_named_once(judge):
    _, words = judge(folds(0.6, 0.6, face=HeldOut(0.1, None)))
    assert len(words) == 1


def test_somebody_has_to_be_left(judge):
    with pytest.raises(UserError, match=r"No teacher has a UAR of 0\.8, but speech 0\.600, face 0\.700: give a lower"):
        judge(folds(0.6, 0.6, face=HeldOut(0.7, 0.6)), 0.8)
