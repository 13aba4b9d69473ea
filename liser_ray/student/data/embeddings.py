"""Teachers' embeddings as a small student learns them: in the few directions in which they differ most.

A principal component analysis of what the student learns from: of its training recordings, and of unlabeled ones.
Without their mean, which all have in common, the cosine between two embeddings tells how alike they are.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Reduction(NamedTuple):
    """Embeddings [n, D] to [n, D'].

    Attributes:
        mean: float32 [D].
        axes: float32 [D, D'], orthonormal columns; the first is the direction of the greatest variance.
    """

    mean: Tensor
    axes: Tensor

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Of float32 [n, D], on its device: (e - mean) · axes."""
        return (embeddings - self.mean) @ self.axes


def fit_reduction(embeddings: np.ndarray, size: int, device: torch.device) -> Reduction:
    """The first principal components of embeddings float [n, D]: ``size`` of them, or all D if there are no more."""
    values = embeddings.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    _, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = axes[:, ::-1][:, :size]
    # Which of two opposite directions an axis has is chance: its largest part is positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return Reduction(*(torch.from_numpy(one.astype(np.float32)).to(device) for one in (mean, axes)))
