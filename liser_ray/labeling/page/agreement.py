"""How often two targets say the same of a span."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from liser_ray.corpora.labels import meaning


@dataclass(frozen=True)
class Agreement:
    """Of two targets, on the spans to which both give a label that both know.

    Attributes:
        n_spans: spans that count.
        n_left_out: spans to which one of them gives a label that the other does not know.
        share: spans with the same label, 0 to 1; NaN without spans.
        chance: the share that two targets with these label counts would have if neither knew of the other.
        kappa: Cohen's, 1 (always), 0 (as chance has it) and below; NaN where it has no meaning.
    """

    n_spans: int
    n_left_out: int
    share: float
    chance: float
    kappa: float


def agree(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Agreement:
    """The agreement in counts of spans by label of one target and of the other, int [K_1, K_2]."""
    names, others = (np.array([meaning(label) for label in labels]) for labels in (rows, columns))
    common = np.intersect1d(names, others)[:, None]
    square = (common == names).astype(int) @ counts @ (common == others).astype(int).T
    n_spans = int(square.sum())
    share = chance = kappa = float("nan")
    if n_spans:
        share = float(np.trace(square)) / n_spans
        chance = float(square.sum(axis=1) @ square.sum(axis=0)) / n_spans**2
    if chance < 1:  # else both have one label only
        kappa = (share - chance) / (1 - chance)
    return Agreement(n_spans, int(counts.sum()) - n_spans, share, chance, kappa)
