"""A teacher: what it takes, and what it gives for each window."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from liser_ray.teachers.batches import Windows
from liser_ray.teachers.targets import Takes, Target


class Answer(NamedTuple):
    """What a teacher says of N windows.

    Attributes:
        values: float32 [N, K]; of a distribution each row sums to 1.
        embedding: float16 [N, D]; None of a target without one.
    """

    values: np.ndarray
    embedding: np.ndarray | None = None

    def part(self, windows: slice) -> "Answer":
        """The answer for some of the windows."""
        return Answer(self.values[windows], None if self.embedding is None else self.embedding[windows])


class Teacher(ABC):
    """Gives one or more targets for windows of one kind of input; all its targets have the same windows.

    Attributes:
        takes: its input. That of its kind.
        targets: what it gives.
        batch_size: windows per forward pass.
        hears_s: of sound: seconds around a window's middle that go in, if more than the window itself.
    """

    takes: ClassVar[Takes] = "sound"
    targets: tuple[Target, ...]
    batch_size: int = 32
    hears_s: float = 0.0

    @abstractmethod
    def __call__(self, windows: Windows) -> dict[str, Answer]:
        """The answers for N windows, by the targets' names; any exception costs the spans it belongs to."""
