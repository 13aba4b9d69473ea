"""How often the face teacher and a speech teacher say the same of a span."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score

_SPELLINGS = {
    "angry": ("anger", "ang"),
    "disgust": ("disgusted", "dis"),
    "fear": ("fearful", "fea"),
    "happy": ("happiness", "joy", "hap"),
    "neutral": ("neu",),
    "sad": ("sadness",),
    "surprise": ("surprised", "sur"),
}
_CANONICAL = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}


@dataclass(frozen=True)
class Agreement:
    """Of two teachers, on the spans to which both give a label that both know.

    Attributes:
        labels: C names that both know, in one spelling.
        n_spans: spans that count.
        n_left_out: spans to which one of them gives a label that the other does not know.
        share: spans with the same label, 0 to 1; NaN without spans.
        chance: the share that two teachers with these label counts would have if neither knew of the other.
        kappa: Cohen's kappa, 1 (always), 0 (as chance has it) and below; NaN where it has no meaning.
    """

    labels: tuple[str, ...]
    n_spans: int
    n_left_out: int
    share: float
    chance: float
    kappa: float


def canonical(label: str) -> str:
    """One spelling for the labels that corpora spell in several ways: ``fear`` for ``fearful``."""
    label = label.strip().lower()
    return _CANONICAL.get(label, label)


def agree(counts: np.ndarray, video_labels: Sequence[str], speech_labels: Sequence[str]) -> Agreement:
    """The agreement in a table of counts.

    Args:
        counts: spans by label of the video teacher and of the speech teacher, int [K_V, K_S].
        video_labels: names of its rows.
        speech_labels: names of its columns.
    """
    rows, columns = ([canonical(label) for label in labels] for labels in (video_labels, speech_labels))
    common = tuple(label for label in dict.fromkeys(rows) if label in columns)
    square = np.zeros((len(common), len(common)), np.int64)
    for (row, column), n in np.ndenumerate(counts):
        if rows[row] in common and columns[column] in common:
            square[common.index(rows[row]), common.index(columns[column])] += n
    n_spans, left_out = int(square.sum()), int(counts.sum() - square.sum())
    if not n_spans:
        return Agreement(common, 0, left_out, float("nan"), float("nan"), float("nan"))
    chance = float(square.sum(axis=1) @ square.sum(axis=0)) / n_spans**2
    kappa = float("nan")
    if chance < 1:  # else both have one label only
        said = np.indices(square.shape).reshape(2, -1)
        kappa = float(cohen_kappa_score(*said, sample_weight=square.ravel()))
    return Agreement(common, n_spans, left_out, float(np.trace(square)) / n_spans, chance, kappa)
