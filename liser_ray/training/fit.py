"""The one training loop; what is learned is a `Task`. Nothing here knows Ray or files (`liser_ray.training.job`)."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar, assert_never

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.training.precision import Precision, mixed

T = TypeVar("T")
Keep = Literal["best", "last"]
Schedule = Literal["constant", "cosine", "linear"]
ClassWeights = Literal["none", "balanced"]

_LOOK_EVERY_STEPS = 200  # at whether the loss is still finite, which a GPU has to be waited for


@dataclass(frozen=True)
class FitSettings:
    """How weights are found.

    Attributes:
        epochs: at most so many in each stage.
        stages: schedule and optimizer begin anew in each, from the weights of the one before; only the last one is
            validated and kept.
        keep: the weights of the "best" epoch by UAR on the validation recordings, or those of the "last" one.
        patience: epochs without a better one after which training stops; 0: never.
        validate_every: epochs from one validation to the next; the last epoch of a stage is always validated.
        learning_rate: the highest; of a linear schedule, which falls from the first step on, a little more than that.
        weight_decay: of AdamW.
        schedule: after the warm-up "constant", or falling to 0 as a "cosine" or in a "linear" way.
        warm_up: share of a stage's steps in which the learning rate rises; a constant one does not.
        ema_decay: keep a moving average of the weights with this decay per step, and validate and keep that; 0: not.
        max_gradient_norm: longer gradients are shortened to it; 0: none are.
    """

    epochs: int
    learning_rate: float
    stages: int = 1
    keep: Keep = "best"
    patience: int = 0
    validate_every: int = 1
    weight_decay: float = 0.01
    schedule: Schedule = "constant"
    warm_up: float = 0.05
    ema_decay: float = 0.0
    max_gradient_norm: float = 0.0


def fit_settings(train: object, **others: float | str) -> FitSettings:
    """How the weights are found: what a job's settings say of that, and others."""
    names = [one.name for one in fields(FitSettings) if hasattr(train, one.name)]
    return FitSettings(**{name: getattr(train, name) for name in names} | others)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share a training: device and rank of this one, and what makes a model a data-parallel one."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model

    @classmethod
    def alone(cls) -> Self:
        """This process by itself, on its GPU if it has one."""
        return cls(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


class Step(NamedTuple):
    """What a process learns from in a step: micro-batches, whose gradients are summed.

    The loss is the sum of the losses of all items of all processes, divided by their ``weight``.
    """

    parts: Sequence[Any]
    weight: float


class Losses(NamedTuple):
    """What came of a micro-batch.

    Attributes:
        terms: sums over its items, scalars to differentiate; the loss is their sum. The same names each time.
        shares: other figures whose means over an epoch are told: a sum, and over how many.
    """

    terms: Mapping[str, Tensor]
    shares: Mapping[str, tuple[Tensor, int]] = {}


class Task(Protocol):
    """What is learned."""

    @property
    def model(self) -> nn.Module:
        """On its device, not wrapped; of its parameters those that require a gradient are trained."""

    def n_steps(self, epoch: int) -> int:
        """How many steps an epoch, from 1 on, has."""

    def steps(self, epoch: int) -> Iterator[Step]:
        """This process's part of the steps of an epoch; epochs follow one another."""

    def losses(self, forward: Callable[..., Any], part: Any) -> Losses:  # noqa: ANN401 (as `steps` gives them)
        """Losses of a micro-batch; ``forward`` is the model, in mixed precision and shared among processes."""

    def validate(self, model: nn.Module, precision: Precision) -> tuple[float, float | None] | None:
        """Loss and UAR over the validation recordings, None where there are none; None of UAR where labels are not."""


@dataclass(frozen=True)
class EpochScore:
    """What an epoch came to.

    Attributes:
        epoch: from 1 on.
        loss: mean over its items.
        terms: of the loss, likewise, by name; none where it has only one.
        shares: other means that the task gives, by name.
        validation_loss: mean loss over the validation recordings; None where the epoch was not validated.
        validation_uar: UAR over them, 0..1; None without labels too.
        seconds: that it took, validation included.
    """

    epoch: int
    loss: float
    terms: dict[str, float]
    shares: dict[str, float]
    validation_loss: float | None
    validation_uar: float | None
    seconds: float

    @property
    def flat(self) -> dict[str, Any]:
        """All in one mapping, for a card or a curve."""
        values = asdict(self)
        first = {"epoch": values.pop("epoch"), "loss": values.pop("loss")}
        return first | values.pop("terms") | values.pop("shares") | values


def best_epoch(history: Sequence[EpochScore], settings: FitSettings) -> EpochScore | None:
    """The one of some epochs whose weights are kept; None before the last stage.

    The best is that by UAR, which is coarse on few recordings, and then by loss; without validation it is the last.
    """
    of_stage = history[settings.epochs * (settings.stages - 1) :]
    validated = [score for score in of_stage if score.validation_loss is not None]
    if settings.keep == "last" or not validated:
        return next(reversed(validated or of_stage), None)
    return max(validated, key=lambda score: (score.validation_uar or 0.0, -(score.validation_loss or 0.0)))


@dataclass
class Training:
    """A task in training, as one of the processes that share each batch.

    Attributes:
        task: what is learned.
        settings: how.
        seed: of dropout and of whatever else the task draws from PyTorch's or NumPy's global generators.
        group: the processes.
        precision: of matrix products; one that the device is able to.
        optimizers: made for the model; None: AdamW. Their learning rates follow the schedule.
        history: scores of the epochs so far.
    """

    task: Task
    settings: FitSettings
    seed: int
    group: ProcessGroup
    precision: Precision = "float32"
    optimizers: Sequence[torch.optim.Optimizer] | None = None
    history: list[EpochScore] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings, on_gpu = self.settings, self.group.device.type == "cuda"
        self.model = self.task.model
        self._shared = self.group.wrap(self.model)
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizers = self.optimizers or [
            torch.optim.AdamW(self._trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
        ]
        self._highest = [[group["lr"] for group in one.param_groups] for one in self._optimizers]
        self._scaler = torch.amp.GradScaler(self.group.device.type, enabled=on_gpu and self.precision == "float16")
        self._averaged: AveragedModel | None = None
        if settings.ema_decay:
            average = get_ema_multi_avg_fn(settings.ema_decay)
            self._averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self._best_weights: dict[str, Tensor] = {}

    @property
    def epochs(self) -> int:
        """Epochs of all stages together, at most."""
        return self.settings.epochs * self.settings.stages

    @property
    def best(self) -> EpochScore | None:
        """The epoch so far whose weights are kept."""
        return best_epoch(self.history, self.settings)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many brought nothing better."""
        done, best, patience = len(self.history), self.best, self.settings.patience
        return done >= self.epochs or (patience > 0 and best is not None and done - best.epoch >= patience)

    def steps(self, epochs: int) -> int:
        """Steps of so many first epochs."""
        return sum(self.task.n_steps(epoch) for epoch in range(1, epochs + 1))

    def run(
        self,
        after_epoch: Callable[[EpochScore], None] = lambda score: None,
        after_steps: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Train until it is finished, and load the weights of the epoch that is kept.

        Args:
            after_epoch: called with each epoch's score.
            after_steps: called after each step, with the steps done since the first epoch.
        """
        while not self.finished:
            after_epoch(self.run_epoch(after_steps))
        load_trained(self.model, self._best_weights)

    def run_epoch(self, after_steps: Callable[[int], None] = lambda done: None) -> EpochScore:
        """One pass over the training recordings, and one over the validation ones if it is their turn.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        epoch, started = len(self.history) + 1, time.monotonic()
        if (epoch - 1) % self.settings.epochs == 0:
            self._forget_gradients()
        seed = _seed_of(f"{self.seed} {epoch} {self.group.rank}")  # of nothing that happened before a stop
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (Transformers draws SpecAugment's masks from it)
        self._shared.train()
        n_steps, done, weight = self.task.n_steps(epoch), self.steps(epoch - 1), 0.0
        sums: dict[str, Tensor] = {}
        shares: dict[str, Tensor] = {}
        for number, step in enumerate(self.task.steps(epoch)):
            self._set_learning_rate(epoch, number, n_steps)
            for losses in self._step(step):
                for name, term in losses.terms.items():
                    sums[name] = sums.get(name, 0) + term.detach().double()
                for name, (total, count) in losses.shares.items():
                    shares[name] = shares.get(name, 0) + torch.stack([total.double(), total.new_tensor(count).double()])
            weight += step.weight
            if (number + 1) % _LOOK_EVERY_STEPS == 0:
                _check_finite(sum(float(one) for one in sums.values()), epoch)
            after_steps(done + number + 1)
        if self.group.world_size > 1:
            for total in (*sums.values(), *shares.values()):
                dist.all_reduce(total)
        terms = {name: float(total) / weight for name, total in sums.items()}
        loss = sum(terms.values())
        means = {name: float(total[0]) / max(1.0, float(total[1])) for name, total in shares.items()}
        found = self.task.validate(self._kept_model, self.precision) if self._is_validated(epoch) else None
        validation_loss, validation_uar = found or (None, None)
        _check_finite(loss + (validation_loss or 0.0), epoch)
        shown = terms if len(terms) > 1 else {}
        seconds = time.monotonic() - started
        score = EpochScore(epoch, loss, shown, means, validation_loss, validation_uar, seconds)
        self.history.append(score)
        if self.best is score:
            self._best_weights = trained_weights(self._kept_model)
        return score

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on after the last epoch; tensors, numbers and strings only."""
        return {
            "history": [asdict(score) for score in self.history],
            "model": trained_weights(self.model),
            "averaged": self._averaged.state_dict() if self._averaged else {},
            "best": self._best_weights,
            "optimizers": [one.state_dict() for one in self._optimizers],
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another process's training was."""
        self.history = [EpochScore(**score) for score in state["history"]]
        load_trained(self.model, state["model"])
        if self._averaged:
            self._averaged.load_state_dict(state["averaged"])
        self._best_weights = state["best"]
        for one, saved in zip(self._optimizers, state["optimizers"], strict=True):
            one.load_state_dict(saved)
        if state["scaler"]:  # empty where it was begun without one
            self._scaler.load_state_dict(state["scaler"])

    @property
    def line(self) -> str:
        """How far it is, in a line for people."""
        if not self.history:
            return "first epoch"
        last, best = self.history[-1], self.best
        terms = {name: value for name, value in last.terms.items() if value} or {"loss": last.loss}
        text = f"epoch {last.epoch}/{self.epochs}, " + " ".join(f"{name} {value:.3f}" for name, value in terms.items())
        if best is not None and best.validation_uar is not None and last.validation_uar is not None:
            text += f", UAR {last.validation_uar:.2f}"
            if self.settings.keep == "best":
                text += f", best {best.validation_uar:.2f} at {best.epoch}"
        return text

    @property
    def _kept_model(self) -> nn.Module:
        """Has the weights that are validated and kept."""
        return self.model if self._averaged is None else self._averaged.module

    def _is_validated(self, epoch: int) -> bool:
        stage, of_stage = divmod(epoch - 1, self.settings.epochs)
        is_due = (of_stage + 1) % self.settings.validate_every == 0 or of_stage + 1 == self.settings.epochs
        return stage == self.settings.stages - 1 and is_due

    def _forget_gradients(self) -> None:
        """Let a stage begin as a training does: with nothing in the optimizers.

        What AdamW remembers is the size of another loss's gradients. Of a layer that had none (the head that predicts,
        while teachers alone are learned from) it is 0, long past the steps for which that is corrected: its first steps
        would be up to six times too long.
        """
        for optimizer in self._optimizers:
            optimizer.state.clear()

    def _set_learning_rate(self, epoch: int, step: int, n_steps: int) -> None:
        at = (epoch - 1) % self.settings.epochs * n_steps + step
        factor = learning_rate_factor(self.settings, at, self.settings.epochs * n_steps)
        for optimizer, highest in zip(self._optimizers, self._highest, strict=True):
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = rate * factor

    def _forward(self, *inputs: Any, **named: Any) -> Any:  # noqa: ANN401 (the model's own)
        with mixed(self.group.device, self.precision):
            return self._shared(*inputs, **named)

    def _step(self, step: Step) -> list[Losses]:
        """A step on a batch of all processes together; what came of this process's parts of it."""
        found = []
        for number, part in enumerate(step.parts):
            # Gradients travel between processes once a step, with the last of its micro-batches.
            waits = self.group.world_size > 1 and number < len(step.parts) - 1
            with self._shared.no_sync() if waits else nullcontext():  # type: ignore[operator]
                losses = self.task.losses(self._forward, part)
                total = torch.stack(list(losses.terms.values())).sum()
                # The mean over the whole batch: data-parallel training divides by the number of processes.
                self._scaler.scale(total * (self.group.world_size / step.weight)).backward()
            found.append(losses)
        if self.settings.max_gradient_norm:
            for optimizer in self._optimizers:
                self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self._trained, self.settings.max_gradient_norm)
        for optimizer in self._optimizers:
            self._scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self._scaler.update()
        if self._averaged is not None:
            self._averaged.update_parameters(self.model)
        return found


def learning_rate_factor(settings: FitSettings, at: int, n_steps: int) -> float:
    """What the learning rate is multiplied by, 0..1, in step ``at`` (from 0 on) of the ``n_steps`` of a stage."""
    if settings.schedule == "constant":
        return 1.0
    warm_up = max(1, round(settings.warm_up * n_steps))
    if settings.schedule == "linear":
        falling = (n_steps - at) / n_steps
    elif settings.schedule == "cosine":
        falling = 0.5 * (1 + math.cos(math.pi * max(0, at - warm_up) / max(1, n_steps - warm_up)))
    else:
        assert_never(settings.schedule)
    return min((at + 1) / warm_up, falling)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """All that training changes of a model, by name, copied to the CPU: trained parameters, and buffers."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    state = model.state_dict()
    return {name: value.detach().cpu().clone() for name, value in state.items() if name not in frozen}


def load_trained(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put `trained_weights` back."""
    problem = model.load_state_dict(dict(weights), strict=False).unexpected_keys
    assert not problem, problem


def run_seed(seed: int, fold: int) -> int:
    """Seed of all that is drawn for one fold, 0..2³²-1: with one for all folds, their scores would be correlated."""
    return _seed_of(f"fold {fold} of seed {seed}")


def _seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def same_for_all(decision: T, world_size: int) -> T:
    """What the first of the processes that share a training decides, or has found, for all of them."""
    if world_size == 1:
        return decision
    decisions = [decision]
    dist.broadcast_object_list(decisions)
    return decisions[0]


def label_weights(kind: ClassWeights, truth: np.ndarray, n_labels: int) -> np.ndarray:
    """Weight of each label, float32 [K]: 1, or "balanced", by the inverse of how often it occurs.

    Then the mean over the recordings is 1.
    ``truth`` has the label of each recording, int [n], 0..K-1, or what each has of all labels, float [n, K], whose rows
    sum to 1. A label that occurs less than once counts as if it were once.
    """
    if kind == "none":
        return np.ones(n_labels, np.float32)
    counts = np.maximum(truth.sum(axis=0) if truth.ndim == 2 else np.bincount(truth, minlength=n_labels), 1)
    return (counts.sum() / (n_labels * counts)).astype(np.float32)


def validation_scores(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and UAR of logits float32 [n, K], where the truth is int64 [n], 0..K-1."""
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
    return loss, uar(confusion_matrix(truth, logits.argmax(axis=1), logits.shape[1]))


def _check_finite(total: float, epoch: int) -> None:
    if not math.isfinite(total):
        raise FloatingPointError(
            f"The loss is not finite in epoch {epoch}. Lower --train.learning_rate (for a student also the λs of "
            "--loss), or use another --precision."
        )
