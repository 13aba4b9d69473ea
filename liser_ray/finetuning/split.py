"""Which recordings of a fold a teacher learns from, and which pick its best epoch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledBy, LabeledRecordings, training_recordings
from liser_ray.runtime.errors import UserError

MIN_SPEAKERS = 5
"""From so many training speakers on, whole speakers are held out to pick the epoch."""


@dataclass(frozen=True)
class TeacherSplit:
    """Indices of recordings; training and selection both lie in the fold's training speakers.

    Attributes:
        fold: whose it is.
        train: int64 [n].
        selection: int64 [m], picks epoch and temperature.
        test: int64 [k], of the fold's test speakers.
        held_out_by: whether selection holds other speakers than train, or other recordings of the same ones.
    """

    fold: Fold
    train: np.ndarray
    selection: np.ndarray
    test: np.ndarray
    held_out_by: Literal["speaker", "recording"]

    @property
    def heard(self) -> np.ndarray:
        """Those that decide on the teacher, int64 [n + m]."""
        return np.concatenate([self.train, self.selection])


def split_fold(
    recordings: LabeledRecordings,
    fold: Fold,
    selection_share: float,
    seed: int,
    labeled_fraction: float = 1.0,
    labeled_by: LabeledBy = "recording",
) -> TeacherSplit:
    """Hold out a share of the training speakers, or of each label's recordings where they are fewer than five.

    The fold's validation speakers are left out altogether: they belong to the student. With a ``labeled_fraction``
    below 1 so are all recordings that a student of this fraction does not learn from (`training_recordings`).

    Raises:
        UserError: if a part has no recordings, or the training part lacks a label.
    """
    rng = np.random.default_rng((seed, fold.index))
    candidates = training_recordings(recordings, fold, labeled_fraction, labeled_by)
    speakers = sorted({recordings.speakers[i] for i in candidates})
    held_out_by: Literal["speaker", "recording"]
    if len(speakers) >= MIN_SPEAKERS:
        held_out_by = "speaker"
        n_selected = _share_of(len(speakers), selection_share)
        selected = rng.choice(speakers, n_selected, replace=False).tolist()
        in_selection = np.isin(candidates, recordings.of_speakers(selected))
    else:
        held_out_by = "recording"
        in_selection = np.zeros(len(candidates), bool)
        for label in np.unique(recordings.label_index[candidates]):
            of_label = np.flatnonzero(recordings.label_index[candidates] == label)
            n_selected = _share_of(len(of_label), selection_share)
            in_selection[rng.permutation(of_label)[:n_selected]] = True
    split = TeacherSplit(
        fold=fold,
        train=candidates[~in_selection],
        selection=candidates[in_selection],
        test=recordings.of_speakers(fold.test),
        held_out_by=held_out_by,
    )
    missing = sorted(set(range(len(recordings.labels))) - set(recordings.label_index[split.train].tolist()))
    if missing:
        names = ", ".join(recordings.labels[i] for i in missing)
        raise UserError(
            f"Fold {fold.index}: no training recording has the label {names}. More speakers or fewer labels are needed."
        )
    if not len(split.selection) or not len(split.test):
        raise UserError(f"Fold {fold.index} has no recordings to pick the epoch with, or none to test on.")
    return split


def _share_of(n: int, share: float) -> int:
    """At least one, and never all."""
    return min(max(1, round(share * n)), n - 1)
