import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from liser_ray.results.metrics import (
    concordance,
    concordance_sums,
    confidence_auroc,
    confusion_matrix,
    expected_calibration_error,
    f1_scores,
    macro_f1,
    recalls,
    uar,
    war,
)


def sure(confidences):
    """Softmaxes over two labels that say label 0 with these confidences, all above one half."""
    return np.stack([confidences, 1 - np.asarray(confidences)], axis=1)


@st.composite
def judged(draw):
    """A true and a predicted label of each recording, where every label is the true one of some recording."""
    n_labels = draw(st.integers(2, 6))
    label = st.integers(0, n_labels - 1)
    truth = draw(st.permutations([*range(n_labels), *draw(st.lists(label, max_size=30))]))
    return np.array(truth), np.array(draw(st.lists(label, min_size=len(truth), max_size=len(truth)))), n_labels


@given(judged())
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_scikit_learn(case):
    truth, predicted, n_labels = case
    counts = confusion_matrix(truth, predicted, n_labels)
    np.testing.assert_array_equal(counts, sklearn.metrics.confusion_matrix(truth, predicted))
    assert uar(counts) == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert war(counts) == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1(counts) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


def test_labels_that_do_not_occur_are_no_part_of_the_mean_even_where_they_are_said():
    counts = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 1]), 4)
    np.testing.assert_allclose(recalls(counts), [1 / 2, 1, np.nan, np.nan])
    np.testing.assert_allclose(f1_scores(counts), [2 / 3, 1, np.nan, np.nan])
    assert (uar(counts), macro_f1(counts), war(counts)) == pytest.approx((3 / 4, 5 / 6, 2 / 3))


@pytest.mark.parametrize("score", [uar, war, macro_f1])
def test_nothing_has_no_score(score):
    with pytest.raises(ValueError, match="No recordings"):
        score(np.zeros((4, 4), np.int64))


@pytest.mark.parametrize(
    ("softmax", "truth", "error"),
    [
        (sure(np.full(10, 0.8)), [0] * 8 + [1] * 2, 0),  # right as often as it is sure
        (sure(np.ones(5)), [1] * 5, 1),  # always sure, always wrong
        (sure(np.ones(5)), [0] * 5, 0),
        # 2 of 4 right where 0.9 sure, 3 of 4 where 0.6 sure
        (sure([0.9] * 4 + [0.6] * 4), [0, 0, 1, 1, 0, 0, 0, 1], (0.4 + 0.15) / 2),
        # too sure here does not make up for too unsure there
        (sure([0.95, 0.95, 0.55, 0.55]), [0, 1, 0, 0], 0.45),
    ],
)
def test_the_calibration_error_is_the_mean_distance_over_the_recordings(softmax, truth, error):
    assert expected_calibration_error(softmax, np.array(truth)) == pytest.approx(error, abs=1e-9)


def test_the_confidence_of_who_is_surer_where_it_is_right():
    truth = np.array([0, 0, 1, 1])  # of which the first two are said rightly
    assert confidence_auroc(sure([0.9, 0.8, 0.7, 0.6]), truth) == 1
    assert confidence_auroc(sure([0.6, 0.7, 0.8, 0.9]), truth) == 0
    assert confidence_auroc(sure([0.7, 0.7, 0.7, 0.7]), truth) == 0.5
    assert confidence_auroc(sure([0.9, 0.6, 0.8, 0.7]), truth) == 0.5  # 2 of 4 pairs
    assert confidence_auroc(sure([0.9, 0.8]), truth[:2]) is None
    assert confidence_auroc(sure([0.9, 0.8]), truth[2:]) is None


def ccc(truth, said):
    return concordance(concordance_sums(np.array(truth, float), np.array(said, float)))


numbers = st.lists(st.integers(-50, 50), min_size=3, max_size=20).filter(lambda one: len(set(one)) > 1)


class TestConcordance:
    def test_by_hand(self):
        assert ccc([1, 2, 3], [2, 2, 5]) == pytest.approx(2 * 1 / (2 / 3 + 2 + 1))

    @given(numbers, st.integers(-5, 5).filter(bool), st.integers(-20, 20), st.randoms(use_true_random=False))
    @settings(max_examples=100, deadline=None, derandomize=True)
    def test_what_it_is_whatever_the_numbers(self, truth, factor, shift, rng):
        truth = np.array(truth)
        said = np.array(rng.choices(truth.tolist(), k=len(truth)))
        assert ccc(truth, truth) == pytest.approx(1)
        assert ccc(truth, said) == pytest.approx(ccc(said, truth))
        assert -1 - 1e-9 <= ccc(truth, said) <= 1 + 1e-9
        assert ccc(factor * truth + shift, factor * said + shift) == pytest.approx(ccc(truth, said), abs=1e-9)
        for bias in (1, -3):
            assert ccc(truth, truth + bias) < 1 - 1e-9
        assert ccc(truth, truth + 4) < ccc(truth, truth + 2)

    def test_sums_of_parts_are_those_of_all(self):
        truth, said = np.random.default_rng(0).normal(size=(2, 30))
        parts = concordance_sums(truth[:9], said[:9]) + concordance_sums(truth[9:], said[9:])
        assert concordance(parts) == pytest.approx(ccc(truth, said))

    def test_numbers_that_are_all_the_same_have_none(self):
        assert np.isnan(ccc([0.1, 0.1, 0.1], [0.1, 0.1, 0.1]))
