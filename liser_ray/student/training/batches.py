"""What a training learns from, step by step: segments of labeled and unlabeled recordings, with their targets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from liser_ray.student.data.mels import LogMels, SegmentCutter
from liser_ray.student.data.order import EpochPlan, labeled_crops, step_rng
from liser_ray.student.data.unlabeled import Segments
from liser_ray.student.features import mixup, spec_augment
from liser_ray.student.losses import Targets, Temperatures
from liser_ray.student.training.config import TrainConfig


class UnlabeledSegments(Protocol):
    """Where unlabeled segments come from: `HeldSegments` or `StreamedSegments`."""

    def take(self, n: int, share: slice = slice(None)) -> Segments:
        """The next ``n`` segments, of these only a ``share``."""
        ...


@dataclass(frozen=True)
class Unlabeled:
    """Unlabeled recordings to learn from.

    Attributes:
        n_rows: how many there are.
        start: gives their segments, from after so many rows on: of all processes together, and those of this one.
        temperatures: of their teachers.
    """

    n_rows: int
    start: Callable[[int, int], UnlabeledSegments]
    temperatures: Temperatures


@dataclass(frozen=True)
class Labeled:
    """Labeled recordings to learn from.

    Attributes:
        mels: spectrograms of the whole set; where it is heard at S speeds, S times N of them (`at_speeds`).
        label_index: int64 [N], of the whole set.
        n_labels: K_S.
        train: int64 [n], recordings to learn from.
    """

    mels: LogMels
    label_index: np.ndarray
    n_labels: int
    train: np.ndarray


class Batch(NamedTuple):
    """What a process learns from in a step.

    Attributes:
        inputs: float32 [n, 64, 94], labeled ones first.
        targets: of the same items.
        n_items: of all processes together.
    """

    inputs: Tensor
    targets: Targets
    n_items: int


class Batches:
    """The mini-batches of a seed: the same ones whatever is learned from them.

    Args:
        labeled: what is learned from.
        unlabeled: likewise; None: labels alone.
        n_video_labels: K_V.
        config: of the training.
        seed: of order, crops and masks.
        device: for the batches.
        rank: of this process.
        world_size: how many processes share each batch.
    """

    def __init__(
        self,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        n_video_labels: int,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ):
        self._labeled, self._unlabeled, self._n_video_labels = labeled, unlabeled, n_video_labels
        self._config, self._seed, self._device = config, seed, device
        self._rank, self._world_size = rank, world_size
        self._cut = SegmentCutter(labeled.mels, device)
        self._segments: UnlabeledSegments | None = None

    def distil_alone(self, epoch: int) -> bool:
        """Whether an epoch, from 1 on, is of the stage that has no labels."""
        return self._config.two_stage and epoch <= self._config.epochs

    def plan(self, epoch: int) -> EpochPlan:
        """How the recordings make the batches of an epoch, from 1 on."""
        n_labeled = len(self._labeled.train)
        n_unlabeled = self._unlabeled.n_rows if self._unlabeled else 0
        if self._config.two_stage:
            n_labeled, n_unlabeled = (0, n_unlabeled) if self.distil_alone(epoch) else (n_labeled, 0)
        return EpochPlan(n_labeled, n_unlabeled, self._config.batch_size, self._config.labeled_per_batch)

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, from 1 on; epochs follow one another."""
        plan = self.plan(epoch)
        places = labeled_crops(len(self._labeled.label_index), self._seed, epoch)
        if plan.n_drawn and self._segments is None:
            assert self._unlabeled is not None
            self._segments = self._unlabeled.start((epoch - 1) * plan.n_drawn, self._drawn_here(epoch))
        for number, step in enumerate(plan.steps(self._seed, epoch)):
            rows = self._labeled.train[step.labeled]
            rng = step_rng(self._seed, epoch, number, self._rank)
            yield self._batch(rows, places[rows], step.n_unlabeled, rng)
        if not self.plan(epoch + 1).n_drawn:
            self.close()

    def _drawn_here(self, epoch: int) -> int:
        """Unlabeled rows that this process has drawn before an epoch; shares of a batch are not always even."""
        return sum(
            len(range(step.n_unlabeled)[self._share(len(step.labeled))])
            for earlier in range(1, epoch)
            for step in self.plan(earlier).steps(self._seed, earlier)
        )

    def _share(self, n_before: int) -> slice:
        """Which items of a batch, after so many others, are this process's: item i goes to i modulo their number."""
        return slice((self._rank - n_before) % self._world_size, None, self._world_size)

    def close(self) -> None:
        """End what streams the unlabeled recordings."""
        self._segments = None

    def _batch(self, rows: np.ndarray, places: np.ndarray, n_unlabeled: int, rng: np.random.Generator) -> Batch:
        n_items = len(rows) + n_unlabeled
        mine, share = self._share(0), self._share(len(rows))
        rows, places = rows[mine], places[mine]
        augment, n_labels = self._config.augment, self._labeled.n_labels
        heard = rows
        if len(augment.speeds) > 1:
            heard = rows + len(self._labeled.label_index) * rng.integers(len(augment.speeds), size=len(rows))
        inputs = self._cut(heard, self._labeled.mels.first_frames(heard, places))
        truth = torch.from_numpy(self._labeled.label_index[rows]).to(self._device, non_blocking=True)
        if augment.mixup_alpha and len(rows):
            inputs, truth = mixup(inputs, truth, n_labels, augment.mixup_alpha, rng)
        if n_unlabeled and self._segments is not None:
            segments = self._segments.take(n_unlabeled, share)
            inputs = torch.cat([inputs, segments.log_mel])
            targets = Targets(truth, segments.speech, segments.video, segments.video_valid)
        else:
            nothing = [inputs.new_zeros(0, n) for n in (n_labels, self._n_video_labels)]
            targets = Targets(truth, nothing[0], nothing[1], inputs.new_zeros(0, dtype=torch.bool))
        if augment.band_masks or augment.frame_masks:
            inputs = spec_augment(
                inputs, rng, augment.band_masks, augment.max_bands, augment.frame_masks, augment.max_frames
            )
        return Batch(inputs, targets, n_items)
