"""What it costs to take one label for another: less where raters do so too.

After the idea of Chou, Lee and Busso 2022 ("Exploiting co-occurrence frequency of emotions in perceptual evaluations to
train a speech emotion classifier", Interspeech): labels that raters choose for the same recording are near one another.
The formulas are ours.
"""

import numpy as np
from torch import Tensor


def confusion_costs(votes: np.ndarray) -> np.ndarray:
    """How seldom other labels are chosen where one is: P, float32 [K, K], 0..1.

    P_ik = 1 - n(i, k) / n(i)

    n(i) recordings have a vote for i, n(i, k) of these one for k too. So P_ii is 0, and P_ik is 1 where the two never
    meet. Of a label that nobody voted for all others cost 1.

    Args:
        votes: raters for each label, float [N, K]; rows of zeros, of recordings that nobody was asked about, tell
            nothing.
    """
    chosen = (votes > 0).astype(np.float64)
    together = chosen.T @ chosen
    costs = 1 - together / np.maximum(np.diagonal(together), 1)[:, None]
    np.fill_diagonal(costs, 0)
    return costs.astype(np.float32)


def penalty_losses(logits: Tensor, truth: Tensor, costs: Tensor) -> Tensor:
    """What the probabilities cost that other labels get, float [N]: in 0..1 where the costs are.

    L_P = Σ_i y_i · Σ_k P_ik · softmax(g(s))_k

    Args:
        logits: g(s), float [N, K].
        truth: y, int64 [N], or float [N, K]: shares, or 1 for each label that is right, which then count equally.
        costs: P, float [K, K], from the right label (row) to the one that is said.
    """
    costs = costs.to(logits.dtype)
    of_right = truth / truth.sum(dim=-1, keepdim=True) @ costs if truth.is_floating_point() else costs[truth]
    return (of_right * logits.softmax(dim=-1)).sum(dim=-1)
