"""What a student says of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from liser_ray.runtime.errors import UserError
from liser_ray.student.front_end import SEGMENT_S


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a student says of a recording, whole and window by window.

    Attributes:
        labels: of the probabilities, in their order.
        probabilities: float32 [K], sum 1: the softmax of the mean of the windows' logits, at the temperature of the
            student's card; of a student with chunks that cover the recording, of what it says of it as a whole.
        window_probabilities: float32 [W, K], each sum 1.
        step_s: from window to window.
        duration_s: of the recording's sound.
        start_s: when that begins, from the recording's start.
        attributes: what it gives beside the labels, such as arousal, by name, on the scale of its training; of the
            recording as the probabilities are.
        window_attributes: by name float32 [W].
        unlike: in what the recording is unlike those of the training (`liser_ray.student.familiar`), in words; then
            the probabilities mean little.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray
    window_probabilities: np.ndarray
    step_s: float
    duration_s: float
    start_s: float = 0.0
    attributes: dict[str, float] = field(default_factory=dict)
    window_attributes: dict[str, np.ndarray] = field(default_factory=dict)
    unlike: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        """That label's, 0..1."""
        return float(self.probabilities.max())

    @property
    def window_start_s(self) -> np.ndarray:
        """Where each window begins in the recording, float64 [W]."""
        return np.round(self.start_s + np.arange(len(self.window_probabilities)) * self.step_s, 3)

    @property
    def window_end_s(self) -> np.ndarray:
        """Where each window ends, float64 [W]: 3 s later, or where a shorter recording does."""
        return np.minimum(self.window_start_s + SEGMENT_S, round(self.start_s + self.duration_s, 3))

    @property
    def as_dict(self) -> dict[str, float]:
        """The probability of each label."""
        return {label: float(value) for label, value in zip(self.labels, self.probabilities, strict=True)}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, float32 like the logits."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def kept_labels(labels: tuple[str, ...], classes: Sequence[str]) -> np.ndarray:
    """Where the wanted labels stand among a student's, int64 [k]; nothing wanted is everything.

    Raises:
        UserError: one is none of the student's, or only one is left.
    """
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise UserError(f"The student has no label {', '.join(unknown)}; it has {', '.join(labels)}.")
    if len(set(classes)) == 1:
        raise UserError(f"Among {classes[0]} alone there is nothing to choose; give two labels or more.")
    return np.array([i for i, label in enumerate(labels) if not classes or label in classes])
