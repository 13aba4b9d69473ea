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
from liser_ray.finetuning.config import TrainSettings
from liser_ray.finetuning.distillation import Course, Lesson
from liser_ray.finetuning.heads_beside import answers_to_teachers
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.conditions import changed_pcm, varied
from liser_ray.teachers.speech_inputs import Preparation
from liser_ray.training.fit import Losses, ProcessGroup, Step, label_weights, validation_scores
from liser_ray.training.precision import Precision, mixed, widened

_BATCHES_PER_BUCKET = 16


class Pieces(NamedTuple):
    """Pieces of recordings, int16 [n] each, and which recordings these are, int64 [B]."""

    waveforms: list[np.ndarray]
    recordings: np.ndarray


class TeacherTask:
    """A speech teacher's `Task`.

    Args:
        model: of `build_model`, on the group's device.
        speech, split: all recordings, and which of them train and select.
        settings: of the training.
        prepare: sound to the model's inputs.
        seed: of order and pieces.
        group: the processes that share each batch.
        lesson: what is learned of teachers; of unlabeled recordings in a stage of its own.
        label_smoothing: share of each true label that is spread over all labels, 0..1.
    """

    def __init__(
        self,
        model: PeftModel,
        speech: LabeledSpeech,
        split: TeacherSplit,
        settings: TrainSettings,
        prepare: Preparation,
        seed: int,
        group: ProcessGroup,
        lesson: Lesson | None = None,
        label_smoothing: float = 0.0,
    ):
        self._lesson, self._smoothing = lesson, label_smoothing
        self.model, self.speech, self.split, self.prepare = model, speech, split, prepare
        self._settings, self._seed, self._group = settings, seed, group
        self._longest = round(min(settings.crop_s, prepare.longest_s) * SAMPLE_RATE_HZ)
        self._lengths = np.minimum(np.diff(speech.ends, prepend=0), self._longest)
        weights = label_weights(settings.class_weights, speech.label_index[split.train], len(speech.labels))
        self._course = Course(speech, split.train, lesson, weights, settings.epochs)
        self._weights = weights

    def n_steps(self, epoch: int) -> int:
        """How many steps an epoch has."""
        return -(-len(self._course.recordings(epoch)) // self._settings.batch_size)

    def steps(self, epoch: int) -> Iterator[Step]:
        """All recordings of a stage once; every process draws the same batches, and takes its share of each.

        Where the model takes no mask, pieces are as long as the shortest of the batch: padding would be heard.
        """
        order, size = np.random.default_rng((self._seed, epoch)), self._settings.micro_batch_size
        recordings = self._course.recordings(epoch)
        for batch in epoch_batches(self._lengths[recordings], self._settings.batch_size, order):
            indices = recordings[batch]
            n_samples = self._longest if self.prepare.masked else int(self._lengths[indices].min())
            mine = indices[self._group.rank :: self._group.world_size]
            parts = [self._pieces(mine[start : start + size], n_samples, epoch) for start in range(0, len(mine), size)]
            yield Step(parts, self._course.weight(indices))

    def losses(self, forward: Callable[..., Any], part: Pieces) -> Losses:
        """Cross-entropy, weighted by label if asked for, and the terms of the teachers."""
        device = self._group.device
        inputs = {name: one.to(device) for name, one in self.prepare.pieces(part.waveforms).items()}
        logits = widened(forward(**inputs).logits)
        truth = torch.from_numpy(self.speech.label_index[part.recordings]).to(device)
        weight = torch.from_numpy(self._weights).to(logits)
        losses = F.cross_entropy(logits, truth, weight=weight, reduction="none", label_smoothing=self._smoothing)
        is_labeled = torch.from_numpy(self._course.of_label[part.recordings] > 0)
        terms = {"loss": losses @ is_labeled.to(losses)}
        if self._lesson is not None:
            answers = answers_to_teachers(self.model)
            terms |= self._lesson.terms(logits, answers, part.recordings, torch.ones(len(truth)))
        return Losses(terms)

    def validate(self, model: nn.Module, precision: Precision) -> tuple[float, float]:
        """Mean cross-entropy and UAR over the selection recordings, of which each process hears its share."""
        mine = self.split.selection[self._group.rank :: self._group.world_size]
        logits = score_recordings(model, self.speech, mine, self.prepare, self._group.device, precision)
        shares: list[Any] = [(mine, logits)]
        if self._group.world_size > 1:
            shares = [None] * self._group.world_size
            dist.all_gather_object(shares, (mine, logits))
        truth = self.speech.label_index[np.concatenate([indices for indices, _ in shares])]
        return validation_scores(np.concatenate([found for _, found in shares]), truth)

    def _pieces(self, indices: np.ndarray, n_samples: int, epoch: int) -> Pieces:
        # By recording, not by position: the piece does not depend on who hears it, or when.
        rngs = [np.random.default_rng((self._seed, epoch, index)) for index in indices]
        n_ways = 1 + self._settings.copies
        copies = [int(rng.integers(n_ways)) if n_ways > 1 else 0 for rng in rngs]
        waveforms = [copy_of(self.speech, *pair) for pair in zip(indices.tolist(), copies, strict=True)]
        crops = [crop(one, n_samples, rng) for one, rng in zip(waveforms, rngs, strict=True)]
        return Pieces(crops, indices)


def copy_of(speech: LabeledSpeech, index: int, copy: int) -> np.ndarray:
    """A recording int16 [n], or a copy of it (from 1 on), changed by what these two numbers draw: int16 [m]."""
    pcm = speech.waveform(index)
    return changed_pcm(pcm, varied, np.random.default_rng((index, copy))) if copy else pcm


def score_recordings(
    model: nn.Module,
    speech: LabeledSpeech,
    indices: np.ndarray,
    prepare: Preparation,
    device: torch.device,
    precision: Precision,
) -> np.ndarray:
    """Logits of whole recordings, float32 [n, K], each as of `logits_of`.

    One at a time: HuBERT base's first norm runs over time, so padding would change what it hears.
    """
    model.eval()
    found = [logits_of(model, speech.waveform(index), prepare, device, precision)[None] for index in indices]
    return np.concatenate([np.zeros((0, len(speech.labels)), np.float32), *found])


@torch.inference_mode()
def logits_of(
    model: nn.Module, pcm: np.ndarray, prepare: Preparation, device: torch.device, precision: Precision
) -> np.ndarray:
    """Logits of a recording int16 [n], float32 [K]; the mean of pieces' if it is longer than a model hears at once."""
    logits = []
    for piece in whole_pieces(pcm, prepare):
        inputs = {name: one.to(device) for name, one in prepare.pieces([piece]).items()}
        with mixed(device, precision):
            logits.append(model(**inputs).logits.float())
    return torch.cat(logits).mean(dim=0).cpu().numpy()


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


def whole_pieces(pcm: np.ndarray, prepare: Preparation) -> list[np.ndarray]:
    """A recording int16 [n], or, if that is more than a model hears at once, equal pieces of it."""
    return np.array_split(pcm, max(1, -(-len(pcm) // round(prepare.longest_s * SAMPLE_RATE_HZ))))


def crop(pcm: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of so many samples of int16 [n]; what is shorter comes whole."""
    if len(pcm) <= n_samples:
        return pcm
    start = int(rng.integers(len(pcm) - n_samples + 1))
    return pcm[start : start + n_samples]
