"""A teacher of one corpus on another: what it says of all of it, brought to labels as frequent as they should be.

Each corpus sounds in its own way, and to a teacher of another one most of it may sound fearful. Distribution alignment
(Berthelot et al. 2020, ReMixMatch, section 3.1) takes that back: p'_k = p_k · π_k / m_k, normalised, where m is the
mean of what the teacher says of the unlabeled recordings, and π the frequencies that are wanted.
"""

import numpy as np
import torch
from torch import Tensor

from liser_ray.student.data.labels_table import LabelsTable, read_groups
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows, target_columns, target_windows
from liser_ray.teachers.targets import Target

_MOST = 10.0
"""No factor is larger: of a label that a teacher hardly ever says, what it says is chance."""


def mean_of_recordings(windows: TargetWindows, recordings: np.ndarray) -> np.ndarray:
    """m, float64 [K], over the windows that count of these recordings, int64 [n]; zeros where there are none."""
    n_windows = np.diff(windows.ends, prepend=0)
    among = np.isin(np.repeat(np.arange(len(n_windows)), n_windows), recordings)
    said = windows.values[windows.counted & among]
    return said.sum(axis=0, dtype=np.float64) / max(len(said), 1)


def mean_of_table(table: LabelsTable, target: Target, settings: SegmentSettings) -> np.ndarray:
    """m, float64 [K], over all windows that count in a table, which is read once, without its sound."""
    total, n = np.zeros(target.n_values), 0
    for rows in read_groups(table, target_columns([target], settings)):
        windows = target_windows(rows, target, settings)
        total += windows.values[windows.counted].sum(axis=0, dtype=np.float64)
        n += int(windows.counted.sum())
    return total / max(n, 1)


def alignment(mean: np.ndarray, wanted: np.ndarray) -> Tensor:
    """π_k / m_k, float32 [K], at most 10, of m and π, float [K]."""
    factors = wanted / np.maximum(mean, np.finfo(np.float32).tiny)
    return torch.from_numpy(np.minimum(factors, _MOST).astype(np.float32))


def aligned(probabilities: Tensor, factors: Tensor) -> Tensor:
    """Probabilities float [N, K], whose rows sum to 1 again; rows of zeros, which say nothing, stay so."""
    found = probabilities * factors
    return found / found.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
