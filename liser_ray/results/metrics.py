"""Scores of a classifier on recordings: UAR, WAR and F1 as speech emotion recognition reports them, and calibration.

A confusion matrix [K, K] has the true labels as rows and the predicted ones as columns. Scikit-learn's functions give
the same numbers (the tests compare) for one list of labels at a time; the intervals need them of many matrices at once.
"""

from typing import Literal

import numpy as np

Metric = Literal["uar", "war", "macro_f1"]

N_BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, n_labels: int) -> np.ndarray:
    """Counts int64 [K, K]: row the true label, column the predicted one.

    Args:
        truth: int [N], 0..K-1.
        predicted: int [N], 0..K-1.
        n_labels: K.
    """
    counts = np.zeros((n_labels, n_labels), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each label, float64 [..., K], 0..1; NaN for a label that does not occur.

    Args:
        confusion: counts [..., K, K]; sums and weighted sums of such serve as well.
    """
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """F1 of each label, float64 [..., K], 0..1: 2 · right / (occurring + said); NaN for a label that does not occur.

    Args:
        confusion: as for `recalls`.
    """
    occurring, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * right, np.where(occurring > 0, occurring + said, 0))


def scores(confusion: np.ndarray, metric: Metric) -> np.ndarray:
    """A score of each of many matrices, float64 [...], 0..1.

    Args:
        confusion: as for `recalls`; each matrix counts something.
        metric: "uar", the mean recall of the labels that occur; "war", the share of recordings that are right; or
            "macro_f1", the mean F1 of the labels that occur.
    """
    if metric == "war":
        return np.asarray(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))
    return np.asarray(np.nanmean(recalls(confusion) if metric == "uar" else f1_scores(confusion), axis=-1))


def uar(confusion: np.ndarray) -> float:
    """Unweighted average recall of a matrix [K, K], 0..1; ValueError if it counts nothing."""
    return _score(confusion, "uar")


def war(confusion: np.ndarray) -> float:
    """Weighted average recall of a matrix [K, K], also called accuracy, 0..1; ValueError if it counts nothing."""
    return _score(confusion, "war")


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 of the labels that occur in a matrix [K, K], 0..1; ValueError if it counts nothing."""
    return _score(confusion, "macro_f1")


def expected_calibration_error(softmax: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance between how sure a classifier is and how often it is right, 0..1 (Guo et al. 2017, eq. 3).

    Args:
        softmax: float [N, K].
        truth: int [N], 0..K-1.

    Raises:
        ValueError: if there are no recordings.
    """
    if not len(truth):
        raise ValueError("No recordings to score.")
    confidence, right = softmax.max(axis=1), softmax.argmax(axis=1) == truth
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gap = np.bincount(bins, weights=right - confidence, minlength=N_BINS)
    return float(np.abs(gap).sum() / len(truth))


def _score(confusion: np.ndarray, metric: Metric) -> float:
    if not confusion.any():
        raise ValueError("No recordings to score.")
    return float(scores(confusion, metric))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Elementwise; NaN where the whole is nothing."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
