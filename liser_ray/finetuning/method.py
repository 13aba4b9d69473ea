"""What differs between teachers that take different things; the rest of their training is the same for all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledRecordings
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.finetuning.config import TeacherConfig
from liser_ray.finetuning.scoring import Predictions
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.teachers.targets import Takes, Target
from liser_ray.training.fit import ProcessGroup, Task

ConfigT = TypeVar("ConfigT", bound=TeacherConfig)

Ask = Callable[[np.ndarray], Predictions]
"""What a teacher says of recordings, given by their indices, int64 [n]."""


class Shared(NamedTuple):
    """What the teachers of all folds have in common: the recordings, and the method's `inputs`."""

    recordings: LabeledRecordings
    inputs: Any


class CardText(NamedTuple):
    """What the README.md of a teacher's folder says of its method.

    Attributes:
        title: what kind of teacher it is.
        loader: which package loads it, as the hub's front matter names it.
        task: as the front matter names it.
        how: what was tuned, and how.
        takes: what goes in.
        ways: words for the ways in which it was scored, by their names in the scores.
        warning: what to know before it is used.
        use: how to ask it, in Markdown.
    """

    title: str
    loader: str
    task: str
    how: str
    takes: str
    ways: Mapping[str, str]
    warning: str
    use: str


class Method(ABC, Generic[ConfigT]):
    """How teachers of one kind are tuned. It goes to the processes that train them, so it holds its settings alone.

    What it computes for all folds (``inputs``) goes there once, beside the recordings.

    Attributes:
        takes: what its teachers take; of those of text no recording need have a file.
        name: of its records.
    """

    takes: ClassVar[Takes] = "sound"
    name: str

    def __init__(self, config: ConfigT):
        self.config = config

    @abstractmethod
    def check(self, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
        """Refuse, with a `UserError`, what can't be tuned for these folds, before any recording is opened."""

    def n_unlabeled(self) -> int:
        """How many unlabeled recordings are learned from in a first stage."""
        return 0

    @abstractmethod
    def read(self, labeled: LabeledSet) -> LabeledRecordings:
        """The recordings of a set that can be used."""

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What decides on its teachers beside set and training, for JSON: an output is not gone on with another one."""

    @abstractmethod
    def inputs(
        self,
        recordings: LabeledRecordings,
        indices: np.ndarray,
        folds: Sequence[Fold],
    ) -> Any:  # noqa: ANN401 (the method's own)
        """What is computed once, for all these folds, of the recordings that they learn and select from, int64 [n]."""

    @abstractmethod
    def task(self, shared: Shared, split: TeacherSplit, seed: int, group: ProcessGroup) -> Task:
        """What is learned of them in a fold, with new weights of this seed."""

    @abstractmethod
    def write(self, folder: Path, recordings: LabeledRecordings, task: Task) -> None:
        """Write the trained model as the labeling job loads it."""

    @abstractmethod
    def asked(self, folder: Path, recordings: LabeledRecordings, device: torch.device) -> Ask:
        """The teacher in a folder of `write`, loaded and asked as in the labeling job."""

    def taught_by(self, recordings: LabeledRecordings, fold: Fold) -> dict[str, Target]:
        """The targets that a fold's model learns from beside the labels, by name."""
        return {}

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``bundle.json`` says of the method: of its base, and in "settings" those that are its own."""

    @abstractmethod
    def text(self, card: Mapping[str, Any]) -> CardText:
        """What a person reads of it, of a ``bundle.json``."""
