"""Scores of a classifier on recordings: UAR, WAR and F1 as speech emotion recognition reports them, and calibration.

A confusion matrix [K, K] has the true labels as rows and the predicted ones as columns. Scikit-learn's functions give
the same numbers (the tests compare) for one list of labels at a time; the intervals need them of many matrices at once.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Metric = Literal["uar", "war", "macro_f1"]

_ROUNDING = 1e-12

N_BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, n_labels: int) -> np.ndarray:
    """Counts int64 [K, K] of labels int [N], 0..K-1: row the true one, column the predicted one."""
    counts = np.zeros((n_labels, n_labels), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each label, float64 [..., K], 0..1, of counts or weighted sums of them [..., K, K]; NaN without any."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """F1 of each label, 2 · right / (occurring + said), float64 [..., K], 0..1; of what and NaN as in `recalls`."""
    occurring, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * right, np.where(occurring > 0, occurring + said, 0))


def scores(confusion: np.ndarray, metric: Metric) -> np.ndarray:
    """A score of each of many matrices [..., K, K] that count something, float64 [...], 0..1.

    Args:
        confusion: as for `recalls`.
        metric: mean recall ("uar") or F1 ("macro_f1") of the labels that occur, or the share that is right ("war").
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
        softmax: float [N, K], N > 0.
        truth: int [N], 0..K-1.
    """
    confidence, right = softmax.max(axis=1), softmax.argmax(axis=1) == truth
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gap = np.bincount(bins, weights=right - confidence, minlength=N_BINS)
    return float(np.abs(gap).sum() / len(truth))


def brier_score(softmax: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared distance of probabilities float [N, K] from the truth int [N], all labels: 0..2 (Brier 1950)."""
    right = np.eye(softmax.shape[1])[truth]
    return float(np.square(softmax - right).sum(axis=1).mean())


def confidence_auroc(softmax: np.ndarray, truth: np.ndarray) -> float | None:
    """How often a classifier is surer of what it has right than of what it has wrong, 0..1; by chance .5.

    The area under the ROC curve of the largest probability as a sign of being right. None if all or nothing is right.

    Args:
        softmax: float [N, K].
        truth: int [N], 0..K-1.
    """
    from sklearn.metrics import roc_auc_score  # a second to import

    right = softmax.argmax(axis=1) == truth
    return None if right.all() or not right.any() else float(roc_auc_score(right, softmax.max(axis=1)))


def concordance_sums(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """What `concordance` needs to know of numbers float [N], true and said: float64 [6], N, Σt, Σs, Σt², Σs², Σts.

    Those of some recordings and of others add up to those of all.
    """
    t, s = truth.astype(np.float64), said.astype(np.float64)
    return np.array([len(t), t.sum(), s.sum(), t @ t, s @ s, t @ s])


def concordance_by_speaker(truth: np.ndarray, said: np.ndarray, speakers: Sequence[str]) -> dict[str, np.ndarray]:
    """`concordance_sums` of each speaker's recordings whose truth is known.

    Args:
        truth: of N recordings, float [N]; NaN: not known.
        said: of the same, float [N].
        speakers: of the same.
    """
    by, known = np.array(speakers), ~np.isnan(truth)
    of = {speaker: known & (by == speaker) for speaker in dict.fromkeys(speakers)}
    return {speaker: concordance_sums(truth[at], said[at]) for speaker, at in of.items() if at.any()}


def concordance(sums: np.ndarray) -> float:
    """Concordance correlation coefficient of numbers, -1..1 (Lin 1989): 1 where all that is said is true.

    CCC = 2 · cov(t, s) / (var t + var s + (mean t - mean s)²)

    Like a correlation it does not depend on the unit; unlike one it is lower where what is said is too high, too low,
    or spread otherwise. NaN where all numbers are the same.

    Args:
        sums: of `concordance_sums`, float64 [6].
    """
    mean_t, mean_s, tt, ss, ts = sums[1:] / sums[0]
    apart = tt - mean_t**2 + ss - mean_s**2 + (mean_t - mean_s) ** 2
    return float(2 * (ts - mean_t * mean_s) / apart) if apart > _ROUNDING * (tt + ss) else math.nan


def _score(confusion: np.ndarray, metric: Metric) -> float:
    if not confusion.any():
        raise ValueError("No recordings to score.")
    return float(scores(confusion, metric))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
