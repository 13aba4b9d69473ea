"""The training of many students of one fold together; each comes out as if it had been trained alone.

They share what does not depend on the setting: recordings, order, crops, masks (of each seed) and the batches' sizes.
What may differ is the seed, λ_sd, λ_vd, the learning rate and the weight decay.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liser_ray.runtime.errors import UserError
from liser_ray.student.losses import Targets, item_losses
from liser_ray.student.network import StudentLogits
from liser_ray.student.population.network import StackedStudents
from liser_ray.student.population.optimizer import StackedAdamW
from liser_ray.student.training.batches import Batch
from liser_ray.student.training.loop import (
    EpochScore,
    Training,
    check_finite,
    epoch_score,
    is_validated,
    learning_rate_factor,
    loss_of_stage,
    validation_scores,
    weigh_classes,
)
from liser_ray.training.common import epoch_seed
from liser_ray.training.precision import mixed


class Population:
    """Students in training together.

    Args:
        trainings: of each student alone, none begun, of one fold and of one process each; their `validation` is the
            same object.

    Attributes:
        histories: scores of each student's epochs.
        problems: why a student went wrong, "" while it has not; its epochs end there, the others go on.

    Raises:
        UserError: the settings can't be trained together; with the first that differs.
    """

    def __init__(self, trainings: Sequence[Training]):
        first = trainings[0]
        _check_alike(trainings)
        self._first, self._device, self._precision = first, first.device, first.precision
        self._students = StackedStudents([training.student for training in trainings])
        self._optimizer = StackedAdamW(
            self._students.parameters,
            self._of_each([training.config.learning_rate for training in trainings]),
            self._of_each([training.config.weight_decay for training in trainings]),
        )
        self._averaged: StackedStudents | None = None
        self._losses = [training.loss for training in trainings]
        self._seeds = list(dict.fromkeys(training.seed for training in trainings))
        self._seed_of = np.array([self._seeds.index(training.seed) for training in trainings])  # of each student
        self._batches = [next(t.batches for t in trainings if t.seed == seed) for seed in self._seeds]
        self._class_weights = weigh_classes(first.labeled, first.config, self._device)
        self.histories: list[list[EpochScore]] = [[] for _ in trainings]
        self.problems = [""] * len(trainings)
        self._epoch = 0

    def __len__(self) -> int:
        return len(self.histories)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self._epoch >= self._first.epochs or all(self.problems)

    @property
    def epochs_done(self) -> int:
        """Epochs so far."""
        return self._epoch

    def steps(self, epochs: int) -> int:
        """Steps of so many first epochs."""
        return self._first.steps(epochs)

    def run_epoch(self, after_steps: Callable[[int], None] = lambda done: None) -> None:
        """One pass over the training recordings and one over the validation ones.

        Args:
            after_steps: called now and then with the steps done since the first epoch.
        """
        self._epoch, started = self._epoch + 1, time.monotonic()
        epoch, config = self._epoch, self._first.config
        plan, done = self._batches[0].plan(epoch), self._first.steps(epoch - 1)
        lambdas = self._lambdas(epoch)
        generators = [
            torch.Generator(self._device).manual_seed(epoch_seed(seed, epoch, rank=0)) for seed in self._seeds
        ]
        sums = torch.zeros(len(self), 5, dtype=torch.float64, device=self._device)
        of_seeds = zip(*(batches.of_epoch(epoch) for batches in self._batches), strict=True)
        for number, step in enumerate(of_seeds):
            sums += self._step(step, lambdas, self._masks(step[0], generators))
            self._optimizer.step(learning_rate_factor(config, epoch, number, plan.n_steps))
            self._average(config.ema_decay)
            after_steps(done + number + 1)
        validation = self._validate() if is_validated(config, epoch) else [(None, None)] * len(self)
        seconds = (time.monotonic() - started) / len(self)
        for number, totals in enumerate(sums.tolist()):
            if self.problems[number]:
                continue
            try:
                check_finite(totals[0], epoch)
                self.histories[number].append(epoch_score(epoch, totals, plan, validation[number], seconds))
            except FloatingPointError as error:
                self.problems[number] = str(error)

    def weights_of(self, number: int) -> dict[str, Tensor]:
        """What is validated of a student after the last epoch, see `StackedStudents.weights_of`."""
        return (self._averaged or self._students).weights_of(number)

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on after the last epoch; tensors, numbers and strings only."""
        return {
            "epoch": self._epoch,
            "histories": [[asdict(score) for score in history] for history in self.histories],
            "problems": self.problems,
            "students": self._students.state_dict(),
            "averaged": self._averaged.state_dict() if self._averaged else {},
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another process's population was."""
        self._epoch = state["epoch"]
        self.histories = [[EpochScore(**score) for score in history] for history in state["histories"]]
        self.problems = state["problems"]
        self._students.load_state_dict(state["students"])
        if state["averaged"]:
            self._averaged = self._students.copy()
            self._averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _step(self, of_seeds: Sequence[Batch], lambdas: Tensor, masks: Tensor | None) -> Tensor:
        """Gradients of a step.

        Args:
            of_seeds: the batch of each seed, all of as many items.
            lambdas: λ_sd and λ_vd of each student, float32 [2, P].
            masks: of dropout, float32 [P, B, 64].

        Returns:
            Sums over each student's items: loss, its three terms, and unlabeled items without video; float64 [P, 5].
        """
        n_items = of_seeds[0].n_items
        inputs = torch.stack([of_seeds[seed].inputs for seed in self._seed_of])
        with mixed(self._device, self._precision):
            logits = self._students(inputs, masks)
        # Of all students: first the labeled items, then the unlabeled ones; by NumPy, which waits for no GPU.
        n_labeled = np.array([len(batch.targets.truth) for batch in of_seeds])
        is_labeled = np.arange(n_items) < n_labeled[self._seed_of][:, None]
        found = np.concatenate([np.flatnonzero(is_labeled), np.flatnonzero(~is_labeled)])
        order = torch.from_numpy(found).to(self._device, non_blocking=True)
        flat = StudentLogits(*(one.float().flatten(0, 1)[order] for one in logits))
        each = [of_seeds[seed].targets for seed in self._seed_of]
        targets = Targets(*(torch.cat([getattr(one, name) for one in each]) for name in Targets.__match_args__))
        temperatures = self._first.unlabeled.temperatures if self._first.unlabeled else None
        items = item_losses(flat, targets, self._losses[0], self._class_weights, temperatures)
        nothing = items.speech.new_zeros(len(items.supervised))
        by_item = torch.stack(
            [
                torch.cat([items.supervised, torch.zeros_like(items.speech)]),
                torch.cat([nothing, items.speech]),
                torch.cat([nothing, items.video]),
                torch.cat([nothing, (~targets.video_valid).float()]),
            ]
        )
        # Back to a row per student.
        sums = torch.zeros_like(by_item).index_copy(1, order, by_item).view(4, len(self), n_items).sum(dim=2)
        speech, video = lambdas * sums[1:3]
        loss = sums[0] + speech + video
        # Each student's loss is the mean over its own items; the others' have no part in its gradient.
        (loss / n_items).sum().backward()
        return torch.stack([loss, sums[0], speech, video, sums[3]], dim=1).detach().double()

    def _masks(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor | None:
        """Masks of dropout float32 [P, B, D]; on a CPU those that `nn.Dropout` would draw."""
        classifier = self._first.student.classifier
        dropout = classifier.dropout.p
        if not dropout:
            return None
        nothing = torch.empty(len(batch.inputs), classifier.encoded_size, device=self._device)
        of_seeds = [
            torch.empty_like(nothing).bernoulli_(1 - dropout, generator=one).div_(1 - dropout) for one in generators
        ]
        return torch.stack([of_seeds[seed] for seed in self._seed_of])

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """The moving average of the weights, as `torch.optim.swa_utils.AveragedModel` takes it."""
        if not decay:
            return
        if self._averaged is None:
            self._averaged = self._students.copy()
            return
        now = self._students.state_dict()
        for name, value in self._averaged.state_dict().items():
            value.lerp_(now[name], 1 - decay)

    def _validate(self) -> list[tuple[float | None, float | None]]:
        """Mean cross-entropy and UAR of each student over the validation recordings."""
        validation = self._first.validation
        if not len(validation):
            return [(None, None)] * len(self)
        logits = validation.logits((self._averaged or self._students).classify, self._precision)
        return [validation_scores(logits[:, number], validation.truth) for number in range(len(self))]

    def _lambdas(self, epoch: int) -> Tensor:
        losses = [loss_of_stage(loss, self._first.config, epoch) for loss in self._losses]
        return torch.stack(
            [self._of_each([getattr(one, name) for one in losses]) for name in ("lambda_sd", "lambda_vd")]
        )

    def _of_each(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)


def _check_alike(trainings: Sequence[Training]) -> None:
    first = trainings[0]
    if first.precision == "float16" and first.device.type == "cuda":
        raise UserError("float16 scales the loss by what all students need together: give --precision bfloat16.")
    for other in trainings[1:]:
        same = replace(other.config, learning_rate=first.config.learning_rate, weight_decay=first.config.weight_decay)
        same_loss = replace(other.loss, lambda_sd=first.loss.lambda_sd, lambda_vd=first.loss.lambda_vd)
        for name, one, two in (
            ("train", asdict(first.config), asdict(same)),
            ("loss", asdict(first.loss), asdict(same_loss)),
        ):
            differing = [field for field in one if one[field] != two[field]]
            if differing:
                raise UserError(
                    f"Students with different {name}.{differing[0]} can't be trained together: search without "
                    "--population, or leave it out."
                )
        if len(other.labeled.train) != len(first.labeled.train):
            raise UserError("Students that learn from different numbers of recordings can't be trained together.")
