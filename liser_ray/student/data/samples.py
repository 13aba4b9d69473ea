"""Some of what a target has, of which means and principal components are computed."""

import numpy as np

from liser_ray.student.data.labels_table import LabelsTable, read_rows
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows, target_columns, target_windows
from liser_ray.teachers.targets import Target

_MOST_WINDOWS = 20_000
"""Of so many both are known well enough; principal components take half a second where D is 768."""


def of_recordings(windows: TargetWindows, recordings: np.ndarray) -> np.ndarray:
    """Values of windows that count of these recordings, int64 [n]: float [at most 20,000, K], spread evenly."""
    n_windows = np.diff(windows.ends, prepend=0)
    among = np.isin(np.repeat(np.arange(len(n_windows)), n_windows), recordings)
    found = np.flatnonzero(windows.counted & among)
    return windows.values[found[:: 1 + len(found) // _MOST_WINDOWS]]


def of_table(table: LabelsTable, target: Target, settings: SegmentSettings) -> np.ndarray:
    """Values of windows that count in a table that is streamed, float [n, K].

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
