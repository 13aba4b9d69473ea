"""What a teacher learns: to name the label of pieces of recordings, step by step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from peft import PeftModel
from torch import nn

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.teachers.finetuning.config import TrainSettings
from liser_ray.teachers.finetuning.split import TeacherSplit
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.training.fit import Losses, ProcessGroup, Step, balanced_weights, validation_scores
from liser_ray.training.precision import Precision, mixed, widened

_BATCHES_PER_BUCKET = 16
LONGEST_S = 30.0
"""Longer recordings are scored in equal pieces of at most this length, whose logits are averaged."""


class Pieces(NamedTuple):
    """Pieces of recordings, int16 [n] each, and their labels, int64 [B]."""

    waveforms: list[np.ndarray]
    truth: np.ndarray


class TeacherTask:
    """A speech teacher's `Task`.

    Args:
        model: of `build_model`, on the group's device.
        speech, split: all recordings, and which of them train and select.
        settings: of the training.
        normalised: whether recordings get zero mean and unit variance before they go in.
        seed: of order and pieces.
        group: the processes that share each batch.
    """

    def __init__(
        self,
        model: PeftModel,
        speech: LabeledSpeech,
        split: TeacherSplit,
        settings: TrainSettings,
        normalised: bool,
        seed: int,
        group: ProcessGroup,
    ):
        self.model, self.speech, self.split, self.normalised = model, speech, split, normalised
        self._settings, self._seed, self._group = settings, seed, group
        n_samples = np.diff(speech.ends, prepend=0)[split.train]
        self._lengths = np.minimum(n_samples, round(settings.crop_s * SAMPLE_RATE_HZ))
        self._weights = np.ones(len(speech.labels), np.float32)
        if settings.class_weights == "balanced":
            self._weights = balanced_weights(speech.label_index[split.train], len(speech.labels))

    def n_steps(self, epoch: int) -> int:
        """How many steps an epoch has."""
        return -(-len(self.split.train) // self._settings.batch_size)

    def steps(self, epoch: int) -> Iterator[Step]:
        """All recordings once; every process draws the same batches, and takes its share of each."""
        order, size = np.random.default_rng((self._seed, epoch)), self._settings.micro_batch_size
        for batch in epoch_batches(self._lengths, self._settings.batch_size, order):
            indices = self.split.train[batch]
            mine = indices[self._group.rank :: self._group.world_size]
            parts = [self._pieces(mine[start : start + size], epoch) for start in range(0, len(mine), size)]
            yield Step(parts, float(self._weights[self.speech.label_index[indices]].sum()))

    def losses(self, forward: Callable[..., Any], part: Pieces) -> Losses:
        """Cross-entropy, weighted by label if asked for."""
        device = self._group.device
        waveforms, mask = (torch.from_numpy(one).to(device) for one in collate(part.waveforms, self.normalised))
        logits = widened(forward(input_values=waveforms, attention_mask=mask).logits)
        truth, weight = torch.from_numpy(part.truth).to(device), torch.from_numpy(self._weights).to(logits)
        return Losses({"loss": F.cross_entropy(logits, truth, weight=weight, reduction="sum")})

    def validate(self, model: nn.Module, precision: Precision) -> tuple[float, float]:
        """Mean cross-entropy and UAR over the selection recordings, of which each process hears its share."""
        mine = self.split.selection[self._group.rank :: self._group.world_size]
        logits = score_recordings(model, self.speech, mine, self.normalised, self._group.device, precision)
        shares: list[Any] = [(mine, logits)]
        if self._group.world_size > 1:
            shares = [None] * self._group.world_size
            dist.all_gather_object(shares, (mine, logits))
        truth = self.speech.label_index[np.concatenate([indices for indices, _ in shares])]
        return validation_scores(np.concatenate([found for _, found in shares]), truth)

    def _pieces(self, indices: np.ndarray, epoch: int) -> Pieces:
        # By recording, not by position: the piece does not depend on who hears it, or when.
        rngs = [np.random.default_rng((self._seed, epoch, index)) for index in indices]
        waveforms = [self.speech.waveform(index) for index in indices]
        crops = [crop(one, self._settings.crop_s, rng) for one, rng in zip(waveforms, rngs, strict=True)]
        return Pieces(crops, self.speech.label_index[indices])


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


def epoch_batches(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """All recordings once, in random batches of similar lengths, in random order: positions in ``lengths``, int64.

    Lengths are sorted within buckets of some batches, so that little is padding and batches still differ from epoch
    to epoch.

    Args:
        lengths: int [N], in samples.
        batch_size: the most recordings of a batch; batches differ by one at most, so that none is tiny.
        rng: of the order.
    """
    n_batches = -(-len(lengths) // batch_size)
    batches: list[np.ndarray] = []
    order = rng.permutation(len(lengths))
    sizes = np.diff(np.linspace(0, len(lengths), n_batches + 1).round().astype(int))
    for first in range(0, n_batches, _BATCHES_PER_BUCKET):
        in_bucket = sizes[first : first + _BATCHES_PER_BUCKET]
        bucket, order = np.split(order, [in_bucket.sum()])
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batches += np.split(bucket, np.cumsum(in_bucket)[:-1])
    return [batches[i] for i in rng.permutation(n_batches)]


def crop(pcm: np.ndarray, crop_s: float, rng: np.random.Generator) -> np.ndarray:
    """A random piece of ``crop_s`` seconds of int16 [n] at 16 kHz; what is shorter comes whole."""
    n_samples = round(crop_s * SAMPLE_RATE_HZ)
    if len(pcm) <= n_samples:
        return pcm
    start = int(rng.integers(len(pcm) - n_samples + 1))
    return pcm[start : start + n_samples]


def collate(pieces: list[np.ndarray], normalised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pad pieces (int16 [n] each, 16 kHz) to one length with zeros.

    Pieces of less than 0.5 s are filled up to that first, as the labeling job fills up short sound: the convolutions
    and SpecAugment need some frames. If ``normalised`` each then gets zero mean and unit variance.

    Returns:
        Waveforms float32 [B, longest], -1..1 or normalised, and int64 [B, longest] with 1 where they are to be heard.
    """
    filled = [np.pad(piece, (0, max(0, round(WINDOW_S * SAMPLE_RATE_HZ) - len(piece)))) for piece in pieces]
    longest = max(len(piece) for piece in filled)
    waveforms, mask = np.zeros((len(pieces), longest), np.float32), np.zeros((len(pieces), longest), np.int64)
    for row, piece in enumerate(filled):
        waveform = piece.astype(np.float32) / 32768
        if normalised:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        waveforms[row, : len(piece)] = waveform
        mask[row, : len(piece)] = 1
    return waveforms, mask
