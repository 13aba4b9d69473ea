import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from liser_ray.results.metrics import (
    confusion_matrix,
    expected_calibration_error,
    f1_scores,
    macro_f1,
    recalls,
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


class TestRecall:
    def test_rows_are_true_labels_and_columns_predicted_ones(self):
        counts = confusion_matrix(TRUTH, PREDICTED, 3)
        np.testing.assert_array_equal(counts, [[2, 1, 0], [0, 1, 1], [1, 0, 0]])
        assert counts.dtype == np.int64

    def test_uar_counts_every_label_alike_and_war_every_recording(self):
        counts = confusion_matrix(TRUTH, PREDICTED, 3)
        assert uar(counts) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
        assert war(counts) == pytest.approx(3 / 6)

    def test_saying_the_frequent_label_always_pays_in_war_alone(self):
        counts = confusion_matrix(np.array([0, 0, 0, 1]), np.zeros(4, int), 2)
        assert uar(counts) == pytest.approx(0.5)
        assert war(counts) == pytest.approx(0.75)

    def test_labels_that_do_not_occur_are_no_part_of_the_mean(self):
        counts = confusion_matrix(np.array([0, 0, 3]), np.array([0, 1, 3]), 5)
        assert counts.shape == (5, 5)
        assert uar(counts) == pytest.approx((1 / 2 + 1) / 2)

    def test_saying_a_label_that_does_not_occur_is_an_error_of_the_true_one(self):
        counts = confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 3)
        assert uar(counts) == pytest.approx((1 / 2 + 1) / 2)
        assert war(counts) == pytest.approx(3 / 4)

    @pytest.mark.parametrize("score", [uar, war, macro_f1])
    def test_nothing_has_no_score(self, score):
        with pytest.raises(ValueError, match="No recordings"):
            score(confusion_matrix(NOTHING, NOTHING, 4))

    def test_of_each_label(self):
        counts = confusion_matrix(np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 2, 0]), 4)
        np.testing.assert_allclose(recalls(counts), [2 / 3, 1 / 2, np.nan, 0])
        assert np.nanmean(recalls(counts)) == pytest.approx(uar(counts))

    def test_of_many_matrices_at_once(self):
        counts = confusion_matrix(TRUTH, PREDICTED, 3)
        many = np.stack([counts, counts.T, 3 * counts]).reshape(3, 1, 3, 3)
        np.testing.assert_array_equal(recalls(many)[:, 0], [recalls(counts), recalls(counts.T), recalls(counts)])
        np.testing.assert_array_equal(f1_scores(many)[2, 0], f1_scores(counts))

    @given(judged())
    @settings(max_examples=60, deadline=None)
    def test_uar_is_the_macro_recall_and_war_the_accuracy(self, case):
        truth, predicted, n_labels = case
        counts = confusion_matrix(truth, predicted, n_labels)
        assert counts.sum() == len(truth)
        assert uar(counts) == pytest.approx(recall_score(truth, predicted, average="macro"))
        assert war(counts) == pytest.approx(np.mean(truth == predicted))


class TestF1:
    def test_of_each_label_and_their_mean(self):
        counts = confusion_matrix(TRUTH, PREDICTED, 3)
        # Label 0: 2 right of 3, said 3 times. Label 1: 1 right of 2, said twice. Label 2: never right.
        np.testing.assert_allclose(f1_scores(counts), [2 / 3, 1 / 2, 0])
        assert macro_f1(counts) == pytest.approx((2 / 3 + 1 / 2) / 3)

    def test_labels_that_do_not_occur_are_no_part_of_the_mean_even_where_they_are_said(self):
        counts = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 1]), 4)
        np.testing.assert_allclose(f1_scores(counts), [2 / 3, 1, np.nan, np.nan])
        assert macro_f1(counts) == pytest.approx((2 / 3 + 1) / 2)

    @given(judged())
    @settings(max_examples=60, deadline=None)
    def test_it_is_that_of_scikit_learn(self, case):
        truth, predicted, n_labels = case
        counts = confusion_matrix(truth, predicted, n_labels)
        assert macro_f1(counts) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


class TestCalibrationError:
    def test_right_as_often_as_it_is_sure_is_no_error(self):
        truth = np.array([0] * 8 + [1] * 2)
        assert expected_calibration_error(sure(np.full(10, 0.8)), truth) == pytest.approx(0, abs=1e-9)

    def test_softmaxes_that_truth_is_drawn_from_are_calibrated(self):
        rng = np.random.default_rng(0)
        softmax = rng.dirichlet((0.5,) * 4, size=20_000)
        truth = (softmax.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
        assert expected_calibration_error(softmax, truth) < 0.02

    def test_always_sure_and_always_wrong_is_the_worst(self):
        assert expected_calibration_error(sure(np.ones(5)), np.ones(5, int)) == pytest.approx(1)

    def test_always_sure_and_always_right_is_no_error(self):
        assert expected_calibration_error(sure(np.ones(5)), np.zeros(5, int)) == pytest.approx(0)

    def test_it_is_the_mean_distance_over_the_recordings(self):
        softmax = sure([0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.6])
        truth = np.array([0, 0, 1, 1, 0, 0, 0, 1])  # 2 of 4 right where 0.9 sure, 3 of 4 where 0.6 sure
        assert expected_calibration_error(softmax, truth) == pytest.approx((0.4 + 0.15) / 2)

    def test_too_sure_here_does_not_make_up_for_too_unsure_there(self):
        softmax = sure([0.95, 0.95, 0.55, 0.55])
        truth = np.array([0, 1, 0, 0])
        assert expected_calibration_error(softmax, truth) == pytest.approx(0.45)

    def test_nothing_has_no_error(self):
        with pytest.raises(ValueError, match="No recordings"):
            expected_calibration_error(np.zeros((0, 3)), NOTHING)
