"""What a teacher learns: to name the label of recordings, step by step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn

from liser_ray.corpora.speech import LabeledRecordings, LabeledSpeech
from liser_ray.finetuning.config import TrainSettings, TuneSettings
from liser_ray.finetuning.distillation import Course, Lesson
from liser_ray.finetuning.heads_beside import answers_to_teachers
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.conditions import changed_pcm, varied
from liser_ray.student.config import SUPERVISED
from liser_ray.teachers.speech_inputs import Preparation
from liser_ray.training.fit import Losses, ProcessGroup, Step, label_weights, validation_scores
from liser_ray.training.precision import Precision, mixed, widened

_BATCHES_PER_BUCKET = 16


class FoldTask(ABC):
    """What the `Task`s of all teachers have in common: the recordings of a fold, in batches that processes share.

    Args:
        recordings, split: all of a set, and which of them train and select.
        settings: of the training.
        seed: of order and pieces.
        group: the processes that share each batch.
        lengths: of the recordings, int [N]; those of a batch are then of similar lengths.
        lesson: what is learned of teachers; of unlabeled recordings in a stage of its own.
    """

    model: nn.Module

    def __init__(
        self,
        recordings: LabeledRecordings,
        split: TeacherSplit,
        settings: TuneSettings,
        seed: int,
        group: ProcessGroup,
        lengths: np.ndarray | None = None,
        lesson: Lesson | None = None,
    ):
        self.split, self._recordings, self._lengths, self._lesson = split, recordings, lengths, lesson
        self._batch_size, self._seed, self._group = settings.batch_size, seed, group
        truth = recordings.label_index[split.train]
        self._weights = label_weights(settings.class_weights, truth, len(recordings.labels))
        self._course = Course(recordings, split.train, lesson, self._weights, settings.epochs)

    def n_steps(self, epoch: int) -> int:
        """How many steps an epoch has."""
        return -(-len(self._course.recordings(epoch)) // self._batch_size)

    def steps(self, epoch: int) -> Iterator[Step]:
        """All recordings of a stage once; every process draws the same batches, and takes its share of each."""
        recordings, rng = self._course.recordings(epoch), np.random.default_rng((self._seed, epoch))
        if self._lengths is None:
            batches = np.array_split(rng.permutation(len(recordings)), self.n_steps(epoch))
        else:
            batches = epoch_batches(self._lengths[recordings], self._batch_size, rng)
        for batch in batches:
            indices = recordings[batch]
            mine = indices[self._group.rank :: self._group.world_size]
            yield Step(self._parts(mine, indices, epoch), self._course.weight(indices))

    @abstractmethod
    def losses(self, forward: Callable[..., Any], part: Any) -> Losses:  # noqa: ANN401 (of `_parts`)
        """Cross-entropy, weighted by label if asked for, and the terms of the teachers."""

    @abstractmethod
    def validate(self, model: nn.Module, precision: Precision) -> tuple[float, float]:
        """Mean cross-entropy and UAR over the selection recordings."""

    @abstractmethod
    def _parts(self, mine: np.ndarray, batch: np.ndarray, epoch: int) -> Sequence[Any]:
        """Micro-batches of this process's recordings, int64 [m], of a batch, int64 [n]."""

    def _label_loss(
        self, logits: Tensor, indices: np.ndarray, reduction: str = "sum", smoothing: float = 0.0
    ) -> Tensor:
        """Cross-entropy of logits [n, K] of recordings, weighted by label: the sum, or [n] with "none"."""
        truth = torch.from_numpy(self._recordings.label_index[indices]).to(logits.device)
        weight = torch.from_numpy(self._weights).to(logits)
        return F.cross_entropy(logits, truth, weight=weight, reduction=reduction, label_smoothing=smoothing)


class RecordingTask(FoldTask):
    """A `FoldTask` that is validated by whole recordings."""

    @torch.inference_mode()
    def validate(self, model: nn.Module, precision: Precision) -> tuple[float, float]:
        """Mean cross-entropy and UAR over the selection recordings, of which each process is asked about its share."""
        model.eval()
        mine = self.split.selection[self._group.rank :: self._group.world_size]
        logits = self._logits(model, mine, precision)
        shares: list[Any] = [(mine, logits)]
        if self._group.world_size > 1:
            shares = [None] * self._group.world_size
            dist.all_gather_object(shares, (mine, logits))
        truth = self._recordings.label_index[np.concatenate([indices for indices, _ in shares])]
        return validation_scores(np.concatenate([found for _, found in shares]), truth)

    @abstractmethod
    def _logits(self, model: nn.Module, indices: np.ndarray, precision: Precision) -> np.ndarray:
        """Of n whole recordings, 0 or more, float32 [n, K]."""

    def _in_batches(
        self, ask: Callable[[np.ndarray], Tensor], indices: np.ndarray, batch_size: int, precision: Precision
    ) -> np.ndarray:
        """`_logits`, by a function that gives those of some recordings."""
        found = [np.zeros((0, len(self._recordings.labels)), np.float32)]
        with mixed(self._group.device, precision):
            for start in range(0, len(indices), batch_size):
                found.append(ask(indices[start : start + batch_size]).float().cpu().numpy())
        return np.concatenate(found)


class Pieces(NamedTuple):
    """Pieces of recordings, int16 [n] each, and which recordings these are, int64 [B]."""

    waveforms: list[np.ndarray]
    recordings: np.ndarray


class TeacherTask(RecordingTask):
    """The task of a speech model that is tuned itself.

    Where it takes no mask, pieces are as long as the shortest of the batch: padding would be heard.

    Args:
        model: of `build_model`, on the group's device.
        speech, split, settings, seed, group, lesson: see `FoldTask`.
        prepare: sound to the model's inputs.
        label_smoothing: share of each true label that is spread over all labels, 0..1.
    """

    _lengths: np.ndarray

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
        self._longest = round(min(settings.crop_s, prepare.longest_s) * SAMPLE_RATE_HZ)
        lengths = np.minimum(np.diff(speech.ends, prepend=0), self._longest)
        super().__init__(speech, split, settings, seed, group, lengths, lesson)
        self.model, self.speech, self.prepare = model, speech, prepare
        self._settings, self._smoothing = settings, label_smoothing

    def losses(self, forward: Callable[..., Any], part: Pieces) -> Losses:
        """Cross-entropy, weighted by label if asked for, and the terms of the teachers."""
        inputs = {name: one.to(self._group.device) for name, one in self.prepare.pieces(part.waveforms).items()}
        logits = widened(forward(**inputs).logits)
        losses = self._label_loss(logits, part.recordings, "none", self._smoothing)
        is_labeled = torch.from_numpy(self._course.of_label[part.recordings] > 0)
        terms = {SUPERVISED: losses @ is_labeled.to(losses)}
        if self._lesson is not None:
            answers = answers_to_teachers(self.model)
            terms |= self._lesson.terms(logits, answers, part.recordings, torch.ones(len(logits)))
        return Losses(terms)

    def _logits(self, model: nn.Module, indices: np.ndarray, precision: Precision) -> np.ndarray:
        return score_recordings(model, self.speech, indices, self.prepare, self._group.device, precision)

    def _parts(self, mine: np.ndarray, batch: np.ndarray, epoch: int) -> list[Pieces]:
        n_samples = self._longest if self.prepare.masked else int(self._lengths[batch].min())
        crops, size = [self._crop(index, n_samples, epoch) for index in mine.tolist()], self._settings.micro_batch_size
        parts = []
        for at in range(0, len(mine), size):
            pieces = crops[at : at + size]
            if not self.prepare.masked:  # a copy may have lost its silence, and be shorter than all recordings
                pieces = [one[: min(map(len, pieces))] for one in pieces]
            parts.append(Pieces(pieces, mine[at : at + size]))
        return parts

    def _crop(self, index: int, n_samples: int, epoch: int) -> np.ndarray:
        """A piece of a recording, or of one of its copies."""
        # By recording, not by position: the piece does not depend on who hears it, or when.
        rng, n_copies = np.random.default_rng((self._seed, epoch, index)), self._settings.copies
        copy = int(rng.integers(1 + n_copies)) if n_copies else 0
        return crop(copy_of(self.speech, index, copy), n_samples, rng)


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
    """Logits of a recording int16 [n], or floats of its range, float32 [K].

    The mean of pieces' if it is longer than a model hears at once.
    """
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
