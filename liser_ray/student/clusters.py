"""Pseudo-labels: which cluster of the student's own vectors a recording is in, learned beside its label.

After DeepEmoCluster (Lin, Sridhar and Busso 2021, ICASSP), whose encoder, sizes and weights are others: before each
epoch k-means groups what the network makes of all recordings, labeled or not, and a head of its own, begun anew since
the clusters have no names, learns in that epoch which group each is in.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

_BATCH = 256


def cluster(vectors: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Which of the clusters each of some vectors float32 [N, D] is in, int64 [N], 0..K-1, by mini-batch k-means."""
    # A second to import; not for every process that trains.
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # whose sums are then always in one order
        found = MiniBatchKMeans(n_clusters, random_state=seed, n_init=1).fit_predict(vectors)
    return np.asarray(found, np.int64)


@torch.no_grad()
def encoded(
    encode: Callable[[Tensor], Tensor], segments: Callable[[np.ndarray], Tensor], rows: np.ndarray
) -> np.ndarray:
    """Vectors float32 [n, D] of some recordings.

    Args:
        encode: segments float32 [b, 64, 94] to float [b, D].
        segments: of recordings int64 [b].
        rows: of the recordings, int64 [n], n > 0.
    """
    parts = (rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH))
    return np.concatenate([encode(segments(part)).float().cpu().numpy() for part in parts])


def begin_anew(head: nn.Module, seed: int) -> None:
    """Give the layers of a head their first weights again; draws nothing from PyTorch's global generators."""
    device = next(head.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
