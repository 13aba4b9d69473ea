"""Warnings come where something looks wrong, and nowhere else."""

import numpy as np
import pytest
from small_jobs import FACE_LABELS, SPEECH_LABELS, TARGETS, lost_row, row, table_of, windows

from liser_ray.labeling.page.agreement import agree
from liser_ray.labeling.page.checks import find_warnings, share_text
from liser_ray.labeling.page.statistics import TableStatistics
from liser_ray.teachers.targets import Target

SURE = np.eye(3) * 0.85 + 0.05
TO_FACE = (2, 0, 1)  # of fearful, happy, calm: fear, happy and sad


def warnings(rows, targets=TARGETS):
    statistics = TableStatistics(targets)
    for batch in table_of(rows, targets).to_batches():
        statistics.add(batch)
    agreements = {pair: agree(n, FACE_LABELS, SPEECH_LABELS) for pair, n in statistics.together.items()}
    return list(find_warnings(statistics, agreements))


def labeled(n, speech=None, face=None):
    """Rows whose teachers agree, or say what they are given."""
    spoken = [one % 2 for one in range(n)] if speech is None else speech
    seen = [TO_FACE[one] for one in spoken] if face is None else face
    return [row(k, [SURE[v]], [SURE[s]]) for k, (v, s) in enumerate(zip(seen, spoken, strict=True))]


NOTHING = np.array([[0.34, 0.33, 0.33], [0.33, 0.34, 0.33]])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (labeled(60), []),
        (labeled(60) + [lost_row(100 + k, reason="timeout") for k in range(15)], []),
        (labeled(60) + [lost_row(100 + k, reason="timeout") for k in range(16)], ["21 % of the hours", "timeout"]),
        (
            labeled(60) + [lost_row(100 + k, end_s=0.0) for k in range(40)],  # recordings of unknown length
            ["0 % of the hours and 40 % of the spans failed"],
        ),
        (
            labeled(40) + [lost_row(100 + k, "filtered", reason="no_face") for k in range(60)],
            ["60 % of the hours are of no use", "no_face"],
        ),
        (
            [row(k, [SURE[TO_FACE[k % 2]]], [NOTHING[k % 2]]) for k in range(60)],
            ["speech is hardly ever sure: its median confidence is 0.34"],
        ),
        (
            labeled(80, speech=[0, 0, 1, 1] * 20, face=[0, 2] * 40),
            ["face and speech agree on 50 % of the spans, and chance alone would give 50 %"],
        ),
        ([row(k, [np.full(3, 1 / 3)], [SURE[2]]) for k in range(29)], []),  # few say nothing about teachers
    ],
)
def test_one_warning_where_something_looks_wrong(rows, words):
    found = warnings(rows)
    assert len(found) == bool(words)
    assert all(one in found[0] for one in words)


def test_a_teacher_that_says_nothing_is_told():
    """It failed on every span, and nobody required it."""
    rows = [row(k, [SURE[TO_FACE[k % 2]]], np.zeros((0, 3))) for k in range(60)]
    assert warnings(rows) == [
        "speech says nothing of any of the 60 labeled spans: the column detail of the table says why."
    ]


def test_two_who_agree_on_the_one_label_that_occurs_are_not_accused():
    rows = [row(k, [SURE[TO_FACE[0]]], [SURE[0]]) for k in range(40)]
    assert not any("chance alone" in one for one in warnings(rows))


def test_nothing_labeled_is_told():
    assert "No span is labeled" in warnings([lost_row(1, "filtered", reason="no_face")])[0]


@pytest.mark.parametrize(("n_sad", "warned"), [(10, False), (9, True)])
def test_a_teacher_that_says_one_thing_only_is_told(n_sad, warned):
    found = warnings(labeled(100, face=[1] * n_sad + [0] * (100 - n_sad)))
    assert any("face says happy to 91 %" in one for one in found) == warned


@pytest.mark.parametrize(("n_others", "warned"), [(10, False), (9, True)])
def test_a_number_that_is_nearly_always_the_same_is_told(n_others, warned):
    energy = Target("energy", "scalar", ("energy",), 3.0, 3.0, "3" * 64, "energy")
    values = [[100.0]] * n_others + [[20.0]] * (100 - n_others)
    found = warnings([row(targets={"energy": windows(values)})], [energy])
    assert any("energy is about 20" in one and "in 91 % of the windows" in one for one in found) == warned


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.004, "< 1 %"), (0.5, "50 %"), (0.996, "> 99 %"), (1.0, "100 %"), (float("nan"), "–")],
)
def test_shares_are_never_rounded_to_nothing_or_to_all(share, text):
    assert share_text(share) == text
