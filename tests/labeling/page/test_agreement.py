import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from liser_ray.labeling.page.agreement import agree

LABELS = ("happy", "sad", "angry")


def test_labels_match_by_name_whatever_their_order_and_spelling():
    counts = np.array([[0, 7, 0], [3, 0, 0], [0, 0, 2]])
    found = agree(counts, ("fear", "surprise", "angry"), ("surprised", "fearful", "anger"))
    assert (found.n_spans, found.share, found.kappa) == (12, 1.0, pytest.approx(1.0))


def test_spans_with_a_label_that_one_of_them_does_not_know_are_left_out():
    found = agree(np.array([[4, 3], [2, 9]]), ("happy", "contempt"), ("happy", "calm"))
    assert (found.n_spans, found.n_left_out) == (4, 14)
    nothing = agree(np.array([[4]]), ("contempt",), ("calm",))
    assert nothing.n_spans == 0
    assert math.isnan(nothing.share + nothing.kappa)


@given(arrays(np.int64, (3, 3), elements=st.integers(0, 50)))
def test_kappa_is_that_of_scikit_learn(counts):
    found = agree(counts, LABELS, LABELS)
    if found.n_spans and found.chance < 1:
        said = np.indices(counts.shape).reshape(2, -1)
        assert found.kappa == pytest.approx(cohen_kappa_score(*said, sample_weight=counts.ravel()), abs=1e-9)
    else:
        assert math.isnan(found.kappa)
