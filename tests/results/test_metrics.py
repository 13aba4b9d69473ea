import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from liser_ray.results.metrics import (
    confusion_matrix,
    expected_calibration_error,
    f1_scores,
    macro_f1,
    recalls,
    scores,
    uar,
    war,
)

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 0])
NOTHING = np.zeros(0, np.int64)


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


class TestScores:
    def test_rows_are_true_labels_and_columns_predicted_ones(self):
        counts = confusion_matrix(TRUTH, PREDICTED, 3)
        np.testing.assert_array_equal(counts, [[2, 1, 0], [0, 1, 1], [1, 0, 0]])
        assert counts.dtype == np.int64

    @given(judged())
    @settings(max_examples=60, deadline=None)
    def test_they_are_those_of_scikit_learn(self, case):
        truth, predicted, n_labels = case
        counts = confusion_matrix(truth, predicted, n_labels)
        assert counts.sum() == len(truth)
        assert uar(counts) == pytest.approx(recall_score(truth, predicted, average="macro"))
        assert war(counts) == pytest.approx(accuracy_score(truth, predicted))
        assert macro_f1(counts) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))

    def test_labels_that_do_not_occur_are_no_part_of_the_mean_even_where_they_are_said(self):
        counts = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 1]), 4)
        np.testing.assert_allclose(recalls(counts), [1 / 2, 1, np.nan, np.nan])
        np.testing.assert_allclose(f1_scores(counts), [2 / 3, 1, np.nan, np.nan])
        assert uar(counts) == pytest.approx((1 / 2 + 1) / 2)
        assert macro_f1(counts) == pytest.approx((2 / 3 + 1) / 2)
        assert war(counts) == pytest.approx(2 / 3)

    @pytest.mark.parametrize("metric", ["uar", "war", "macro_f1"])
    def test_of_many_matrices_at_once(self, metric):
        counts = confusion_matrix(TRUTH, PREDICTED, 3)
        many = scores(np.stack([counts, counts.T, 3 * counts]).reshape(3, 1, 3, 3), metric)
        np.testing.assert_allclose(many[:, 0], [scores(one, metric) for one in (counts, counts.T, counts)])

    @pytest.mark.parametrize("score", [uar, war, macro_f1])
    def test_nothing_has_no_score(self, score):
        with pytest.raises(ValueError, match="No recordings"):
            score(confusion_matrix(NOTHING, NOTHING, 4))


class TestCalibrationError:
    def test_softmaxes_that_truth_is_drawn_from_are_calibrated(self):
        rng = np.random.default_rng(0)
        softmax = rng.dirichlet((0.5,) * 4, size=20_000)
        truth = (softmax.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
        assert expected_calibration_error(softmax, truth) < 0.02

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
    def test_it_is_the_mean_distance_over_the_recordings(self, softmax, truth, error):
        assert expected_calibration_error(softmax, np.array(truth)) == pytest.approx(error, abs=1e-9)

    def test_nothing_has_no_error(self):
        with pytest.raises(ValueError, match="No recordings"):
            expected_calibration_error(np.zeros((0, 3)), NOTHING)
