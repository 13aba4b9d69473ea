"""Temperature scaling: one number that makes a softmax as sure as it is right (Guo et al. 2017)."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature T with the smallest cross-entropy of softmax(logits / T), 0.05 to 20.

    Of n recordings the cross-entropy is with truths of probability (n + 1) / (n + 2), the other labels sharing the
    rest, as Platt (1999) has it: that twenty of twenty were right does not mean that all will be.

    Args:
        logits: float [N, K], of recordings that did not train the classifier. Logarithms of a softmax will do. Those of
            labels that a recording's set does not have are -inf.
        truth: int [N], 0..K-1.

    Raises:
        ValueError: if there are no recordings.
    """
    if not len(truth):
        raise ValueError("No recordings to fit a temperature to.")

    n, possible = len(truth), np.isfinite(logits)

    def cross_entropy(log_temperature: float) -> float:
        scaled = np.where(possible, log_softmax(logits / np.exp(log_temperature), axis=1), 0)
        right = scaled[np.arange(n), truth]
        others = (scaled.sum(axis=1) - right) / np.maximum(possible.sum(axis=1) - 1, 1)
        return float(-(((n + 1) * right + others) / (n + 2)).mean())

    bounds = np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def with_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Softmaxes float [..., K] as they would be at another temperature, without their logits."""
    return softmax(logarithms(probs) / temperature, axis=-1).astype(np.float32)


def logarithms(probs: np.ndarray) -> np.ndarray:
    """Logits of softmaxes float [..., K], up to a constant; a probability of 0 becomes the smallest float32."""
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny))
