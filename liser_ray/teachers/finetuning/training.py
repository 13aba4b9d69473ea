"""The training of one teacher: steps, epochs, and which epoch was the best.

Nothing here knows Ray: a worker (`liser_ray.teachers.finetuning.worker`) runs it with the process group it is in.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.teachers.finetuning.batches import collate, crop, epoch_batches
from liser_ray.teachers.finetuning.config import TrainSettings
from liser_ray.teachers.finetuning.model import load_trained_state, trained_state
from liser_ray.teachers.finetuning.split import TeacherSplit
from liser_ray.training.common import balanced_weights, epoch_seed
from liser_ray.training.precision import Precision, mixed

_WARM_UP_SHARE = 0.1
_MAX_GRADIENT_NORM = 1.0
LONGEST_S = 30.0
"""Longer recordings are scored in equal pieces of at most this length, whose logits are averaged."""


@dataclass(frozen=True)
class EpochScore:
    """What an epoch came to.

    Attributes:
        epoch: from 1 on.
        train_loss: mean cross-entropy over the epoch's recordings, weighted by label if asked for.
        selection_loss: mean cross-entropy over the selection recordings.
        selection_uar: UAR over them, 0..1.
    """

    epoch: int
    train_loss: float
    selection_loss: float
    selection_uar: float

    def better_than(self, other: "EpochScore") -> bool:
        """By UAR, which is coarse on few recordings; then by loss."""
        return (self.selection_uar, -self.selection_loss) > (other.selection_uar, -other.selection_loss)


@dataclass
class Training:
    """A teacher in training, as one of ``world_size`` processes that share each batch.

    Attributes:
        model: of `build_model`, wrapped for data-parallel training where several processes share it.
        speech: all recordings.
        split: which of them train and select.
        settings: of the training.
        normalised: whether recordings get zero mean and unit variance before they go in.
        device: of the model.
        precision: of the matrix products on a GPU.
        rank: of this process.
        world_size: how many processes there are.
        history: scores of the epochs so far.
    """

    model: nn.Module
    speech: LabeledSpeech
    split: TeacherSplit
    settings: TrainSettings
    normalised: bool
    device: torch.device
    precision: Precision = "bfloat16"
    rank: int = 0
    world_size: int = 1
    history: list[EpochScore] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.settings
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        n_steps = settings.epochs * -(-len(self.split.train) // settings.batch_size)
        warm_up = max(1, round(_WARM_UP_SHARE * n_steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min((step + 1) / warm_up, max(0.0, (n_steps - step) / n_steps))
        )
        scaled = self.device.type == "cuda" and self.precision == "float16"
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self._label_weights = torch.from_numpy(self._weigh_labels()).to(self.device)
        self._best_state: dict[str, Tensor] = {}

    @property
    def plain_model(self) -> nn.Module:
        """The model without the wrapper of data-parallel training."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model

    @property
    def best(self) -> EpochScore | None:
        """The best epoch so far."""
        found = None
        for score in self.history:
            if found is None or score.better_than(found):
                found = score
        return found

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many brought nothing better."""
        if not self.history or self.best is None:
            return False
        done = self.history[-1].epoch
        return done >= self.settings.epochs or done - self.best.epoch >= self.settings.patience

    def run(self, after_epoch: Callable[[EpochScore], None]) -> None:
        """Train until it is finished, and load the best epoch's weights."""
        while not self.finished:
            score = self.run_epoch()
            after_epoch(score)
        load_trained_state(self.plain_model, self._best_state)

    def run_epoch(self) -> EpochScore:
        """One pass over the training recordings and one over the selection ones.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        epoch = len(self.history) + 1
        self._seed(epoch)
        self.model.train()
        lengths = np.minimum(self._lengths(self.split.train), round(self.settings.crop_s * SAMPLE_RATE_HZ))
        # Every process draws the same batches and takes its share of each.
        order = np.random.default_rng((self.settings.seed, epoch))
        losses, weights = 0.0, 0.0
        for batch in epoch_batches(lengths, self.settings.batch_size, order):
            loss, weight = self._step(self.split.train[batch], epoch)
            losses, weights = losses + loss, weights + weight
        selection_loss, selection_uar = self._score_selection()
        score = EpochScore(epoch, losses / weights, selection_loss, selection_uar)
        if not np.isfinite(score.train_loss + score.selection_loss):
            raise FloatingPointError(
                f"The loss is not finite in epoch {epoch}. Lower --train.learning_rate, or use another --precision."
            )
        if self.best is None or score.better_than(self.best):
            self._best_state = trained_state(self.plain_model)
        self.history.append(score)
        return score

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on after the last epoch; tensors, numbers and strings only."""
        return {
            "history": [asdict(score) for score in self.history],
            "trained": trained_state(self.plain_model),
            "best": self._best_state,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another process's training was."""
        self.history = [EpochScore(**score) for score in state["history"]]
        load_trained_state(self.plain_model, state["trained"])
        self._best_state = state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])

    def _step(self, batch: np.ndarray, epoch: int) -> tuple[float, float]:
        """A step on a batch of all processes together: sum of the weighted losses, and of the weights."""
        total_weight = float(self._label_weights[self.speech.label_index[batch]].sum())
        share = batch[self.rank :: self.world_size]
        micro_batches = [
            share[start : start + self.settings.micro_batch_size]
            for start in range(0, len(share), self.settings.micro_batch_size)
        ]
        summed = torch.zeros((), device=self.device)
        for number, indices in enumerate(micro_batches):
            pieces = [self._piece(i, epoch) for i in indices]
            waveforms, mask = (torch.from_numpy(one).to(self.device) for one in collate(pieces, self.normalised))
            truth = torch.from_numpy(self.speech.label_index[indices]).to(self.device)
            last = number == len(micro_batches) - 1
            # Gradients travel between processes once a step, with the last of its micro-batches.
            with nullcontext() if last or self.world_size == 1 else self.model.no_sync():  # type: ignore[operator]
                with mixed(self.device, self.precision):
                    logits = self.model(input_values=waveforms, attention_mask=mask).logits
                loss = F.cross_entropy(logits.float(), truth, weight=self._label_weights, reduction="sum")
                # The mean over the whole batch: data-parallel training divides by the number of processes.
                self._scaler.scale(loss * self.world_size / total_weight).backward()
            summed += loss.detach()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._trained, _MAX_GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()
        if self.world_size > 1:
            dist.all_reduce(summed)
        return float(summed), total_weight

    def _piece(self, index: int, epoch: int) -> np.ndarray:
        # By recording, not by position: the piece does not depend on who hears it, or when.
        rng = np.random.default_rng((self.settings.seed, epoch, index))
        return crop(self.speech.waveform(index), self.settings.crop_s, rng)

    def _score_selection(self) -> tuple[float, float]:
        """Mean cross-entropy and UAR over the selection recordings."""
        mine = self.split.selection[self.rank :: self.world_size]
        logits = score_recordings(self.plain_model, self.speech, mine, self.normalised, self.device, self.precision)
        shares: list[Any] = [(mine, logits)]
        if self.world_size > 1:
            shares = [None] * self.world_size
            dist.all_gather_object(shares, (mine, logits))
        truth = self.speech.label_index[np.concatenate([indices for indices, _ in shares])]
        all_logits = np.concatenate([found for _, found in shares])
        loss = F.cross_entropy(torch.from_numpy(all_logits), torch.from_numpy(truth)).item()
        return loss, uar(confusion_matrix(truth, all_logits.argmax(axis=1), len(self.speech.labels)))

    def _seed(self, epoch: int) -> None:
        seed = epoch_seed(self.settings.seed, epoch, self.rank)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (Transformers draws SpecAugment's masks from it)

    def _lengths(self, indices: np.ndarray) -> np.ndarray:
        return np.diff(self.speech.ends, prepend=0)[indices]

    def _weigh_labels(self) -> np.ndarray:
        """Weight of each label, float32 [K]."""
        n_labels = len(self.speech.labels)
        if self.settings.class_weights == "none":
            return np.ones(n_labels, np.float32)
        return balanced_weights(self.speech.label_index[self.split.train], n_labels)


@torch.inference_mode()
def score_recordings(
    model: nn.Module,
    speech: LabeledSpeech,
    indices: np.ndarray,
    normalised: bool,
    device: torch.device,
    precision: Precision,
) -> np.ndarray:
    """Logits of whole recordings, float32 [n, K].

    One recording at a time: HuBERT base's first norm runs over time, so padding would change what it hears.
    """
    model.eval()
    found = [np.zeros((0, len(speech.labels)), np.float32)]
    for index in indices:
        pcm = speech.waveform(index)
        n_pieces = max(1, -(-len(pcm) // round(LONGEST_S * SAMPLE_RATE_HZ)))
        logits = []
        for piece in np.array_split(pcm, n_pieces):
            waveforms, _ = collate([piece], normalised)
            with mixed(device, precision):
                logits.append(model(input_values=torch.from_numpy(waveforms).to(device)).logits.float())
        found.append(torch.cat(logits).mean(dim=0, keepdim=True).cpu().numpy())
    return np.concatenate(found)
