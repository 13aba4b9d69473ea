"""The training of one student: steps, epochs, stages, and which epoch was the best.

Nothing here knows Ray or files: `liser_ray.student.training.run` runs it with the process group it is in.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from liser_ray.metrics import confusion_matrix, uar
from liser_ray.student.config import LossConfig
from liser_ray.student.data.mels import LogMels, SegmentCutter
from liser_ray.student.data.order import EpochPlan, labeled_crops, step_rng
from liser_ray.student.data.unlabeled import Segments
from liser_ray.student.features import mixup, spec_augment
from liser_ray.student.losses import Targets, Temperatures, total_loss
from liser_ray.student.network import Student
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.teachers.batches import autocast
from liser_ray.teachers.config import Precision
from liser_ray.training import balanced_weights, epoch_seed

_WARM_UP_SHARE = 0.05
_LOOK_EVERY_STEPS = 200  # at whether the loss is still finite, which a GPU has to be waited for


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
        start: gives their segments, from after so many rows on.
        temperatures: of their teachers.
    """

    n_rows: int
    start: Callable[[int], UnlabeledSegments]
    temperatures: Temperatures


@dataclass(frozen=True)
class Labeled:
    """Labeled recordings to learn from.

    Attributes:
        mels: spectrograms of the whole set.
        label_index: int64 [N], of the whole set.
        n_labels: K_S.
        train: int64 [n], recordings to learn from.
    """

    mels: LogMels
    label_index: np.ndarray
    n_labels: int
    train: np.ndarray


@dataclass(frozen=True)
class EpochScore:
    """What an epoch came to. Losses are means over its recordings, labeled and unlabeled.

    Attributes:
        epoch: from 1 on.
        loss: the whole, equation (4) or (5).
        supervised, speech, video: its terms, with λ and confidence.
        without_video: share of the unlabeled segments that had no video term, 0..1; 0 if there were none.
        validation_loss: mean cross-entropy over the validation recordings; None where there are none, or in the stage
            of distillation alone, in which nothing teaches the head that predicts.
        validation_uar: UAR over them, 0..1.
        seconds: that it took, validation included.
    """

    epoch: int
    loss: float
    supervised: float
    speech: float
    video: float
    without_video: float
    validation_loss: float | None
    validation_uar: float | None
    seconds: float

    def better_than(self, other: "EpochScore | None") -> bool:
        """By UAR, which is coarse on few recordings; then by loss. Without validation the later one is."""
        if other is None or self.validation_uar is None or self.validation_loss is None:
            return True
        if other.validation_uar is None or other.validation_loss is None:
            return True
        return (self.validation_uar, -self.validation_loss) > (other.validation_uar, -other.validation_loss)


@dataclass
class Training:
    """A student in training, as one of ``world_size`` processes that share each batch.

    Attributes:
        model: a `Student`, wrapped for data-parallel training where several processes share it.
        labeled: what it learns from.
        unlabeled: likewise; None: labels alone.
        validation: recordings that pick the epoch; may be empty.
        config: of the training.
        loss: of the recipe.
        seed: of order, crops, masks and dropout.
        device: of the model.
        precision: of the matrix products on a GPU.
        rank: of this process.
        world_size: how many processes there are.
        history: scores of the epochs so far.
    """

    model: nn.Module
    labeled: Labeled
    unlabeled: Unlabeled | None
    validation: EvaluationSet
    config: TrainConfig
    loss: LossConfig
    seed: int
    device: torch.device
    precision: Precision = "bfloat16"
    rank: int = 0
    world_size: int = 1
    history: list[EpochScore] = field(default_factory=list)

    def __post_init__(self) -> None:
        on_gpu = self.device.type == "cuda"
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=on_gpu,
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=on_gpu and self.precision == "float16")
        self._averaged: AveragedModel | None = None
        if self.config.ema_decay:
            average = get_ema_multi_avg_fn(self.config.ema_decay)
            self._averaged = AveragedModel(self.student, multi_avg_fn=average, use_buffers=True)
        self._cut = SegmentCutter(self.labeled.mels, self.device)
        self._class_weights = self._weigh_classes()
        self._segments: UnlabeledSegments | None = None
        self._best_state: dict[str, Tensor] = {}

    @property
    def student(self) -> Student:
        """The network without the wrapper of data-parallel training."""
        inner = self.model.module if isinstance(self.model, DistributedDataParallel) else self.model
        assert isinstance(inner, Student)
        return inner

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return self.config.epochs * (2 if self.config.two_stage else 1)

    @property
    def best(self) -> EpochScore | None:
        """The best epoch so far; none in the stage of distillation alone."""
        best = None
        for score in self.history:
            if not self._distils_alone(score.epoch) and score.better_than(best):
                best = score
        return best

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.epochs

    def steps(self, epochs: int) -> int:
        """Steps of so many first epochs."""
        return sum(self._plan(epoch).n_steps for epoch in range(1, epochs + 1))

    def run(self, after_epoch: Callable[[EpochScore], None], after_steps: Callable[[int], None]) -> None:
        """Train until it is finished, and load the best epoch's weights.

        Args:
            after_epoch: called with each epoch's score.
            after_steps: called now and then within an epoch, with the steps done since the first epoch.
        """
        while not self.finished:
            after_epoch(self.run_epoch(after_steps))
        self._segments = None  # ends what streams them
        self.student.load_state_dict(self._best_state)

    def run_epoch(self, after_steps: Callable[[int], None] = lambda done: None) -> EpochScore:
        """One pass over the training recordings (see `EpochPlan`) and one over the validation ones.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        epoch, started = len(self.history) + 1, time.monotonic()
        torch.manual_seed(epoch_seed(self.seed, epoch, self.rank))
        self.model.train()
        plan = self._plan(epoch)
        loss = self._loss_of_stage(epoch)
        places = labeled_crops(len(self.labeled.mels), self.seed, epoch)
        if plan.n_drawn and self._segments is None:
            assert self.unlabeled is not None
            self._segments = self.unlabeled.start((epoch - 1) * plan.n_drawn)
        sums = torch.zeros(5, dtype=torch.float64, device=self.device)
        n_items, done = plan.n_labeled + plan.n_drawn, self.steps(epoch - 1)
        for number, step in enumerate(plan.steps(self.seed, epoch)):
            self._set_learning_rate(epoch, number)
            rows = self.labeled.train[step.labeled]
            sums += self._step(rows, places[rows], step.n_unlabeled, loss, epoch, number)
            if (number + 1) % _LOOK_EVERY_STEPS == 0:
                self._check_finite(sums[0].item(), epoch)
            after_steps(done + number + 1)
        if self.world_size > 1:
            dist.all_reduce(sums)
        total, supervised, speech, video, without_video = sums.tolist()
        self._check_finite(total, epoch)
        validation = (None, None) if self._distils_alone(epoch) else self._validate()
        score = EpochScore(
            epoch=epoch,
            loss=total / n_items,
            supervised=supervised / n_items,
            speech=speech / n_items,
            video=video / n_items,
            without_video=without_video / max(1, plan.n_drawn),
            validation_loss=validation[0],
            validation_uar=validation[1],
            seconds=time.monotonic() - started,
        )
        if not self._distils_alone(epoch) and score.better_than(self.best):
            self._best_state = {name: value.cpu().clone() for name, value in self._scored.state_dict().items()}
        self.history.append(score)
        if not self._plan(epoch + 1).n_drawn:
            self._segments = None
        return score

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on after the last epoch; tensors, numbers and strings only."""
        return {
            "history": [asdict(score) for score in self.history],
            "student": self.student.state_dict(),
            "averaged": self._averaged.state_dict() if self._averaged else {},
            "best": self._best_state,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another process's training was."""
        self.history = [EpochScore(**score) for score in state["history"]]
        self.student.load_state_dict(state["student"])
        if self._averaged:
            self._averaged.load_state_dict(state["averaged"])
        self._best_state = state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    @property
    def _scored(self) -> Student:
        """The weights that are validated and kept."""
        if self._averaged is None:
            return self.student
        averaged = self._averaged.module
        assert isinstance(averaged, Student)
        return averaged

    def _distils_alone(self, epoch: int) -> bool:
        return self.config.two_stage and epoch <= self.config.epochs

    def _plan(self, epoch: int) -> EpochPlan:
        n_labeled = len(self.labeled.train)
        n_unlabeled = self.unlabeled.n_rows if self.unlabeled else 0
        if self.config.two_stage:
            n_labeled, n_unlabeled = (0, n_unlabeled) if self._distils_alone(epoch) else (n_labeled, 0)
        return EpochPlan(n_labeled, n_unlabeled, self.config.batch_size, self.config.labeled_per_batch)

    def _loss_of_stage(self, epoch: int) -> LossConfig:
        if self.config.two_stage and not self._distils_alone(epoch):
            return replace(self.loss, lambda_sd=0.0, lambda_vd=0.0)
        return self.loss

    def _step(
        self, rows: np.ndarray, places: np.ndarray, n_unlabeled: int, loss_config: LossConfig, epoch: int, step: int
    ) -> Tensor:
        """A step on a batch of all processes together.

        Returns:
            Sums over this process's items: loss, its three terms, and unlabeled items without video; float64 [5].
        """
        n_items = len(rows) + n_unlabeled
        # Item i of the batch goes to process i modulo their number.
        labeled = slice(self.rank, None, self.world_size)
        unlabeled = slice((self.rank - len(rows)) % self.world_size, None, self.world_size)
        rng = step_rng(self.seed, epoch, step, self.rank)
        inputs, targets = self._batch(rows[labeled], places[labeled], n_unlabeled, unlabeled, rng)
        with autocast(self.device, self.precision):
            logits = self.model(inputs)
        logits = type(logits)(*(one.float() for one in logits))
        temperatures = self.unlabeled.temperatures if self.unlabeled else None
        loss = total_loss(logits, targets, loss_config, self._class_weights, temperatures)
        # The mean over the whole batch: data-parallel training divides by the number of processes.
        n_here = len(inputs)
        self._scaler.scale(loss.total * (n_here * self.world_size / n_items)).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if self._averaged is not None:
            self._averaged.update_parameters(self.student)
        terms = torch.stack([loss.total.detach(), loss.supervised, loss.speech, loss.video]) * n_here
        return torch.cat([terms.double(), loss.n_without_video.double()[None]])

    def _batch(
        self, rows: np.ndarray, places: np.ndarray, n_unlabeled: int, share: slice, rng: np.random.Generator
    ) -> tuple[Tensor, Targets]:
        """This process's inputs float32 [n, 64, 94], labeled ones first, and what they should come to."""
        inputs = self._cut(rows, self.labeled.mels.first_frames(rows, places))
        truth = torch.from_numpy(self.labeled.label_index[rows]).to(self.device, non_blocking=True)
        augment = self.config.augment
        if augment.mixup_alpha and len(rows):
            inputs, truth = mixup(inputs, truth, self.labeled.n_labels, augment.mixup_alpha, rng)
        if n_unlabeled and self._segments is not None:
            segments = self._segments.take(n_unlabeled, share)
            inputs = torch.cat([inputs, segments.log_mel])
            targets = Targets(truth, segments.speech, segments.video, segments.video_valid)
        else:
            nothing = [inputs.new_zeros(0, n) for n in (self.labeled.n_labels, self.student.n_video_labels)]
            targets = Targets(truth, nothing[0], nothing[1], inputs.new_zeros(0, dtype=torch.bool))
        if augment.band_masks or augment.frame_masks:
            inputs = spec_augment(
                inputs, rng, augment.band_masks, augment.max_bands, augment.frame_masks, augment.max_frames
            )
        return inputs, targets

    def _validate(self) -> tuple[float | None, float | None]:
        """Mean cross-entropy and UAR over the validation recordings."""
        if not len(self.validation):
            return None, None
        logits = self.validation.logits(self._scored.classifier, self.precision)
        truth = self.validation.truth
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
        return loss, uar(confusion_matrix(truth, logits.argmax(axis=1), self.labeled.n_labels))

    def _set_learning_rate(self, epoch: int, step: int) -> None:
        if self.config.schedule == "constant":
            return
        first = epoch - (epoch - 1) % self.config.epochs  # of the stage
        n_steps = self._plan(epoch).n_steps
        at, total = (epoch - first) * n_steps + step, self.config.epochs * n_steps
        warm_up = max(1, round(_WARM_UP_SHARE * total))
        falling = 0.5 * (1 + np.cos(np.pi * max(0, at - warm_up) / max(1, total - warm_up)))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * min((at + 1) / warm_up, falling)

    def _check_finite(self, total: float, epoch: int) -> None:
        if not np.isfinite(total):
            raise FloatingPointError(
                f"The loss is not finite in epoch {epoch}. Lower --train.learning_rate or the λs of --loss, or use "
                "another --precision."
            )

    def _weigh_classes(self) -> Tensor | None:
        """Weight of each label, float32 [K], whose mean over the training recordings is 1."""
        if self.config.class_weights == "none":
            return None
        weights = balanced_weights(self.labeled.label_index[self.labeled.train], self.labeled.n_labels)
        return torch.from_numpy(weights).to(self.device)
