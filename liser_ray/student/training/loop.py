"""The training of one student: steps, epochs, stages, and which epoch was the best.

Nothing here knows Ray or files: `liser_ray.student.training.run` runs it with the process group it is in.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.student.config import LossConfig
from liser_ray.student.data.order import EpochPlan
from liser_ray.student.losses import total_loss
from liser_ray.student.network import StudentNetwork
from liser_ray.student.training.batches import Batch, Batches, Labeled, Unlabeled
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.training.common import balanced_weights, epoch_seed
from liser_ray.training.precision import Precision, mixed

_WARM_UP_SHARE = 0.05
_LOOK_EVERY_STEPS = 200  # at whether the loss is still finite, which a GPU has to be waited for


@dataclass(frozen=True)
class EpochScore:
    """What an epoch came to. Losses are means over its recordings, labeled and unlabeled.

    Attributes:
        epoch: from 1 on.
        loss: the whole, equation (4) or (5).
        supervised, speech, video: its terms, with λ and confidence.
        without_video: share of the unlabeled segments that had no video term, 0..1; 0 if there were none.
        validation_loss: mean cross-entropy over the validation recordings; None where there are none, in an epoch that
            is not validated, or in the stage of distillation alone, in which nothing teaches the head that predicts.
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
        model: a `StudentNetwork`, wrapped for data-parallel training where several processes share it.
        labeled: what it learns from.
        unlabeled: likewise; None: labels alone.
        validation: recordings that pick the epoch; may be empty.
        config: of the training.
        loss: of the recipe.
        seed: of order, crops, masks and dropout.
        device: of the model.
        precision: of the matrix products; one that the device is able to.
        rank: of this process.
        world_size: how many processes there are.
        history: scores of the epochs so far.
        batches: what it learns from in each step.
    """

    model: nn.Module
    labeled: Labeled
    unlabeled: Unlabeled | None
    validation: EvaluationSet
    config: TrainConfig
    loss: LossConfig
    seed: int
    device: torch.device
    precision: Precision = "float32"
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
        n_video = self.student.n_video_labels
        self.batches = Batches(
            self.labeled, self.unlabeled, n_video, self.config, self.seed, self.device, self.rank, self.world_size
        )
        self._class_weights = weigh_classes(self.labeled, self.config, self.device)
        self._best_state: dict[str, Tensor] = {}

    @property
    def student(self) -> StudentNetwork:
        """The network without the wrapper of data-parallel training."""
        inner = self.model.module if isinstance(self.model, DistributedDataParallel) else self.model
        assert isinstance(inner, StudentNetwork)
        return inner

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return self.config.epochs * (2 if self.config.two_stage else 1)

    @property
    def best(self) -> EpochScore | None:
        """The epoch so far whose weights are kept; none in the stage of distillation alone."""
        return best_epoch(self.history, self.config)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.epochs

    def steps(self, epochs: int) -> int:
        """Steps of so many first epochs."""
        return sum(self.batches.plan(epoch).n_steps for epoch in range(1, epochs + 1))

    def run(self, after_epoch: Callable[[EpochScore], None], after_steps: Callable[[int], None]) -> None:
        """Train until it is finished, and load the weights of the epoch that is kept.

        Args:
            after_epoch: called with each epoch's score.
            after_steps: called now and then within an epoch, with the steps done since the first epoch.
        """
        while not self.finished:
            after_epoch(self.run_epoch(after_steps))
        self.batches.close()
        self.student.load_state_dict(self._best_state)

    def run_epoch(self, after_steps: Callable[[int], None] = lambda done: None) -> EpochScore:
        """One pass over the training recordings (see `EpochPlan`) and one over the validation ones.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        epoch, started = len(self.history) + 1, time.monotonic()
        torch.manual_seed(epoch_seed(self.seed, epoch, self.rank))
        self.model.train()
        plan = self.batches.plan(epoch)
        loss = loss_of_stage(self.loss, self.config, epoch)
        sums = torch.zeros(5, dtype=torch.float64, device=self.device)
        done = self.steps(epoch - 1)
        for number, batch in enumerate(self.batches.of_epoch(epoch)):
            factor = learning_rate_factor(self.config, epoch, number, plan.n_steps)
            for group in self._optimizer.param_groups:
                group["lr"] = self.config.learning_rate * factor
            sums += self._step(batch, loss)
            if (number + 1) % _LOOK_EVERY_STEPS == 0:
                check_finite(sums[0].item(), epoch)
            after_steps(done + number + 1)
        if self.world_size > 1:
            dist.all_reduce(sums)
        totals = sums.tolist()
        check_finite(totals[0], epoch)
        validation = self._validate() if is_validated(self.config, epoch) else (None, None)
        score = epoch_score(epoch, totals, plan, validation, time.monotonic() - started)
        self.history.append(score)
        if not self.batches.distil_alone(epoch) and self.best is score:
            self._best_state = {name: value.cpu().clone() for name, value in self._scored.state_dict().items()}
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
    def _scored(self) -> StudentNetwork:
        """The weights that are validated and kept."""
        if self._averaged is None:
            return self.student
        averaged = self._averaged.module
        assert isinstance(averaged, StudentNetwork)
        return averaged

    def _step(self, batch: Batch, loss_config: LossConfig) -> Tensor:
        """A step on a batch of all processes together.

        Returns:
            Sums over this process's items: loss, its three terms, and unlabeled items without video; float64 [5].
        """
        with mixed(self.device, self.precision):
            logits = self.model(batch.inputs)
        logits = type(logits)(*(one.float() for one in logits))
        temperatures = self.unlabeled.temperatures if self.unlabeled else None
        loss = total_loss(logits, batch.targets, loss_config, self._class_weights, temperatures)
        # The mean over the whole batch: data-parallel training divides by the number of processes.
        n_here = len(batch.inputs)
        self._scaler.scale(loss.total * (n_here * self.world_size / batch.n_items)).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if self._averaged is not None:
            self._averaged.update_parameters(self.student)
        terms = torch.stack([loss.total.detach(), loss.supervised, loss.speech, loss.video]) * n_here
        return torch.cat([terms.double(), loss.n_without_video.double()[None]])

    def _validate(self) -> tuple[float | None, float | None]:
        """Mean cross-entropy and UAR over the validation recordings."""
        if not len(self.validation):
            return None, None
        logits = self.validation.logits(self._scored.classifier.eval(), self.precision)
        return validation_scores(logits, self.validation.truth)


def best_epoch(history: Sequence[EpochScore], config: TrainConfig) -> EpochScore | None:
    """The one of some epochs whose weights are kept; none in the stage of distillation alone."""
    of_stage = history[config.epochs if config.two_stage else 0 :]
    candidates = [score for score in of_stage if score.validation_uar is not None] or of_stage
    best = None
    for score in candidates:
        if config.keep == "last" or score.better_than(best):
            best = score
    return best


def is_validated(config: TrainConfig, epoch: int) -> bool:
    """Whether the validation speakers are listened to after an epoch, from 1 on."""
    if config.two_stage and epoch <= config.epochs:
        return False  # nothing has taught the head that predicts yet
    of_stage = (epoch - 1) % config.epochs + 1
    return of_stage % config.validate_every == 0 or of_stage == config.epochs


def epoch_score(
    epoch: int,
    totals: Sequence[float],
    plan: EpochPlan,
    validation: tuple[float | None, float | None],
    seconds: float,
) -> EpochScore:
    """What an epoch came to.

    Args:
        epoch: from 1 on.
        totals: sums over its items: loss, supervised, speech and video term, and items without video.
        plan: of the epoch.
        validation: loss and UAR.
        seconds: that it took.
    """
    n_items = plan.n_labeled + plan.n_drawn
    loss, supervised, speech, video = (total / n_items for total in totals[:4])
    without_video = totals[4] / max(1, plan.n_drawn)
    return EpochScore(epoch, loss, supervised, speech, video, without_video, *validation, seconds)


def validation_scores(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and UAR.

    Args:
        logits: float32 [n, K], of each recording.
        truth: int64 [n], 0..K-1.
    """
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
    return loss, uar(confusion_matrix(truth, logits.argmax(axis=1), logits.shape[1]))


def loss_of_stage(loss: LossConfig, config: TrainConfig, epoch: int) -> LossConfig:
    """The loss of an epoch, from 1 on: that of labels alone in the second of two stages."""
    if config.two_stage and epoch > config.epochs:
        return replace(loss, lambda_sd=0.0, lambda_vd=0.0)
    return loss


def learning_rate_factor(config: TrainConfig, epoch: int, step: int, n_steps: int) -> float:
    """What the learning rate is multiplied by, 0..1.

    Args:
        config: with the schedule.
        epoch: from 1 on.
        step: of the epoch, from 0 on.
        n_steps: of the epoch.
    """
    if config.schedule == "constant":
        return 1.0
    first = epoch - (epoch - 1) % config.epochs  # of the stage
    at, total = (epoch - first) * n_steps + step, config.epochs * n_steps
    warm_up = max(1, round(_WARM_UP_SHARE * total))
    falling = 0.5 * (1 + math.cos(math.pi * max(0, at - warm_up) / max(1, total - warm_up)))
    return min((at + 1) / warm_up, falling)


def weigh_classes(labeled: Labeled, config: TrainConfig, device: torch.device) -> Tensor | None:
    """Weight of each label, float32 [K], whose mean over the training recordings is 1; None if all weigh the same."""
    if config.class_weights == "none":
        return None
    weights = balanced_weights(labeled.label_index[labeled.train], labeled.n_labels)
    return torch.from_numpy(weights).to(device)


def check_finite(total: float, epoch: int) -> None:
    """Refuse a sum of losses that is not finite.

    Raises:
        FloatingPointError: it is not; with what to do.
    """
    if not math.isfinite(total):
        raise FloatingPointError(
            f"The loss is not finite in epoch {epoch}. Lower --train.learning_rate or the λs of --loss, or use "
            "another --precision."
        )
