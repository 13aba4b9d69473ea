"""Scores of a classifier on recordings: UAR and WAR as speech emotion recognition reports them, and calibration."""

import numpy as np

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


def uar(confusion: np.ndarray) -> float:
    """Unweighted average recall, 0..1: the mean of the recalls of the labels that occur.

    Args:
        confusion: int [K, K], of `confusion_matrix`.

    Raises:
        ValueError: if it counts nothing.
    """
    occurring = confusion.sum(axis=1)
    if not occurring.any():
        raise ValueError("No recordings to score.")
    return float(np.mean(np.diag(confusion)[occurring > 0] / occurring[occurring > 0]))


def war(confusion: np.ndarray) -> float:
    """Weighted average recall, 0..1: the share of recordings that are right, also called accuracy.

    Args:
        confusion: int [K, K], of `confusion_matrix`.

    Raises:
        ValueError: if it counts nothing.
    """
    if not confusion.any():
        raise ValueError("No recordings to score.")
    return float(np.trace(confusion) / confusion.sum())


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
