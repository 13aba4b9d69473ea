"""A teacher of one corpus on another: what it says of all of it, brought to labels as frequent as they should be.

Each corpus sounds in its own way, and to a teacher of another one most of it may sound fearful. Distribution alignment
(Berthelot et al. 2020, ReMixMatch, section 3.1) takes that back: p'_k = p_k · π_k / m_k, normalised, where m is the
mean of what the teacher says of the unlabeled recordings, and π the frequencies that are wanted.
"""

import numpy as np
import torch
from torch import Tensor


def alignment(said: np.ndarray, wanted: np.ndarray) -> Tensor:
    """π_k / m_k, float32 [K], of probabilities float [n, K] and the wanted frequencies, float [K]."""
    mean = said.mean(axis=0, dtype=np.float64)
    return torch.from_numpy((wanted / np.maximum(mean, np.finfo(np.float32).tiny)).astype(np.float32))


def aligned(probabilities: Tensor, factors: Tensor) -> Tensor:
    """Probabilities float [N, K], whose rows sum to 1 again; rows of zeros, which say nothing, stay so."""
    found = probabilities * factors
    return found / found.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
