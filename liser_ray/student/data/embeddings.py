"""Teachers' embeddings as a small student learns them: in the few directions in which they differ most.

A principal component analysis of what the student learns from: of its training recordings, and of unlabeled ones.
Without their mean, which all have in common, the cosine between two embeddings tells how alike they are.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from liser_ray.student.data.labels_table import LabelsTable, read_rows
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows, target_columns, target_windows
from liser_ray.teachers.targets import Target

_MOST_WINDOWS = 20_000
"""Of so many the principal components are known well enough; half a second's work where D is 768."""


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


def recordings_embeddings(windows: TargetWindows, recordings: np.ndarray) -> np.ndarray:
    """Embeddings of windows that count of these recordings, int64 [n]: float [at most 20,000, D], spread evenly."""
    n_windows = np.diff(windows.ends, prepend=0)
    among = np.isin(np.repeat(np.arange(len(n_windows)), n_windows), recordings)
    found = np.flatnonzero(windows.counted & among)
    return windows.values[found[:: 1 + len(found) // _MOST_WINDOWS]]


def table_embeddings(table: LabelsTable, target: Target, settings: SegmentSettings) -> np.ndarray:
    """Embeddings of windows that count in a table that is streamed, float16 [n, D].

    They are those of random row groups, the same ones each time: of the first ones that have 20,000 together.
    """
    found, n_found = [np.zeros((0, target.n_values), np.float16)], 0
    for number in np.random.default_rng(0).permutation(len(table.groups)).tolist():
        group = table.groups[number]
        for rows in read_rows(table, group, target_columns([target], settings), group.n_rows):
            windows = target_windows(rows, target, settings)
            found.append(windows.values[windows.counted])
            n_found += len(found[-1])
        if n_found >= _MOST_WINDOWS:
            break
    return np.concatenate(found)
