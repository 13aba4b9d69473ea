"""What a head on a frozen speech model learns: pieces of recordings, whose features are computed once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.finetuning.config import TrainSettings
from liser_ray.finetuning.distillation import Lesson
from liser_ray.finetuning.heads_beside import answers_to_teachers, put_heads_beside
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.finetuning.task import FoldTask, copy_of, whole_pieces
from liser_ray.results.metrics import confusion_matrix, uar
from liser_ray.runtime.display import Counting
from liser_ray.student.config import SUPERVISED
from liser_ray.teachers.pooled_head import PooledHead
from liser_ray.teachers.speech_inputs import Preparation, read_preparation
from liser_ray.teachers.speech_models import load_base
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.fit import Losses, ProcessGroup
from liser_ray.training.precision import Precision, mixed

PIECES_S = (0.5, 3.0, 0.0)
"""Lengths of the pieces that a head learns from, each overlapping the next by half; 0: the whole recording."""

_BATCH_PIECES = 32


@dataclass(frozen=True)
class FrozenSpeech:
    """Labeled speech with what a frozen model makes of it.

    Attributes:
        speech: the recordings.
        prepare: sound to the model's inputs.
        statistics: float16 [P, L, F] of P pieces, in the order of the recordings, by `LayerStatistics`.
        recording: int64 [P], of which recording each piece is.
        kind: int64 [P], its place in `PIECES_S`.
        copy: int64 [P], of which changed copy of the recording it is; 0: of itself.
    """

    speech: LabeledSpeech
    prepare: Preparation
    statistics: np.ndarray
    recording: np.ndarray
    kind: np.ndarray
    copy: np.ndarray


@torch.inference_mode()
def freeze(
    speech: LabeledSpeech, indices: np.ndarray, base_folder: Path, precision: Precision, copies: int = 0
) -> FrozenSpeech:
    """The features of recordings' pieces, and of their copies', by a base model on this process's GPU if it has one."""
    device = ProcessGroup.alone().device
    base = load_base(base_folder, device)
    model, prepare = base.statistics, read_preparation(base_folder, base.model)

    def found(inputs: dict[str, Tensor]) -> np.ndarray:
        with mixed(device, precision):
            statistics = model(**{name: one.to(device) for name, one in inputs.items()})
        return statistics.half().cpu().numpy()

    statistics, recording, kinds, of_copies = [], [], [], []
    heard = [(index, copy) for index in np.sort(indices).tolist() for copy in range(1 + copies)]
    with Counting("recordings heard by the frozen model", len(heard)) as counting:
        for index, copy in heard:
            pcm = copy_of(speech, index, copy)
            for kind, seconds in enumerate(PIECES_S):
                if seconds:
                    windows = torch.from_numpy(sound_windows(pcm, seconds, seconds / 2)[0]).to(device)
                    parts = [found(prepare.windows(batch)) for batch in windows.split(_BATCH_PIECES)]
                else:
                    parts = [found(prepare.pieces([piece])) for piece in whole_pieces(pcm, prepare)]
                statistics += parts
                kinds.append(np.full(sum(map(len, parts)), kind))
                recording.append(np.full(len(kinds[-1]), index))
                of_copies.append(np.full(len(kinds[-1]), copy))
            counting.advance()
    arrays = map(np.concatenate, (statistics, recording, kinds, of_copies))
    return FrozenSpeech(speech, prepare, *arrays)


_PIECES_AT_ONCE = 2048  # their statistics are of half precision until they are summed


class HeadTask(FoldTask):
    """The task of a head: each recording counts the same, and in it each length of pieces.

    Args:
        frozen: all that is needed of the set.
        split, settings, seed, group, lesson: see `FoldTask`.
        kinds: of the pieces to learn from, as in `PIECES_S`.
        label_smoothing: share of each true label that is spread over all labels in training, 0..1.
        projections: of the head, see `PooledHead`.
    """

    model: PooledHead

    def __init__(
        self,
        frozen: FrozenSpeech,
        split: TeacherSplit,
        settings: TrainSettings,
        seed: int,
        group: ProcessGroup,
        kinds: Sequence[int] = range(len(PIECES_S)),
        lesson: Lesson | None = None,
        label_smoothing: float = 0.0,
        projections: Mapping[str, int] | None = None,
    ):
        self.uars: list[float] = []  # of each length, when it was last validated
        super().__init__(frozen.speech, split, settings, seed, group, lesson=lesson)
        self.speech, self.prepare = frozen.speech, frozen.prepare
        self._frozen, self._smoothing = frozen, label_smoothing
        self._train = _Pieces(frozen, self._course.everything, kinds)
        self._selection = _Pieces(frozen, split.selection, copies=False)
        n_layers, n_features = frozen.statistics.shape[1:]
        torch.manual_seed(seed)
        self.model = PooledHead(n_layers, n_features, len(self.speech.labels), projections).to(group.device)
        put_heads_beside(self.model, "classifier", n_features, lesson.heads if lesson else {})
        labeled = _Pieces(frozen, split.train, kinds)
        mean = _weighed_mean(frozen.statistics, labeled, np.zeros((n_layers, n_features)), 1)
        deviation = np.sqrt(_weighed_mean(frozen.statistics, labeled, mean, 2))
        self.model.standardise(*(torch.from_numpy(one.astype(np.float32)) for one in (mean, deviation)))

    def _parts(self, mine: np.ndarray, batch: np.ndarray, epoch: int) -> list[np.ndarray]:
        return [self._train.of(mine)]

    def losses(self, forward: Callable[..., Any], part: np.ndarray) -> Losses:
        """Cross-entropy of pieces, given as places among those that train, and the terms of the teachers."""
        pieces = self._train
        logits, losses = self._cross_entropy(forward, pieces, part, self._smoothing)
        weights = pieces.weight[part] * self._course.of_label[pieces.recording[part]]
        terms = {SUPERVISED: losses @ torch.from_numpy(weights).to(losses)}
        if self._lesson is not None:
            recordings, share = pieces.recording[part], torch.from_numpy(pieces.weight[part])
            terms |= self._lesson.terms(logits, answers_to_teachers(self.model), recordings, share)
        return Losses(terms)

    @torch.inference_mode()
    def validate(self, model: nn.Module, precision: Precision) -> tuple[float, float]:
        """Cross-entropy of the selection pieces, and the mean of the lengths' UARs by a recording's mean softmax."""
        model.eval()
        pieces, everything = self._selection, np.arange(len(self._selection.index))
        logits, losses = self._cross_entropy(model, pieces, everything)
        loss = float(losses @ torch.from_numpy(pieces.weight).to(losses)) / float(pieces.weight.sum())
        softmax = logits.softmax(1).cpu().numpy()
        self.uars = [self._uar(softmax, pieces.kind == kind) for kind in range(len(PIECES_S))]
        return loss, float(np.mean(self.uars))

    def _uar(self, softmax: np.ndarray, of_kind: np.ndarray) -> float:
        recordings, place = np.unique(self._selection.recording[of_kind], return_inverse=True)
        summed = np.zeros((len(recordings), softmax.shape[1]))
        np.add.at(summed, place, softmax[of_kind])
        truth = self.speech.label_index[recordings]
        return uar(confusion_matrix(truth, summed.argmax(axis=1), softmax.shape[1]))

    def _cross_entropy(
        self, forward: Callable[..., Any], pieces: "_Pieces", which: np.ndarray, smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Logits of each piece, float32 [n, K], and their cross-entropy, float32 [n]."""
        statistics = torch.from_numpy(self._frozen.statistics[pieces.index[which]])
        logits = forward(statistics.to(self._group.device).float()).float()
        truth = torch.from_numpy(self.speech.label_index[pieces.recording[which]]).to(logits.device)
        return logits, F.cross_entropy(logits, truth, reduction="none", label_smoothing=smoothing)


class _Pieces:
    """Pieces of some recordings: place among all, recording, kind, and weight float32, of which a recording has 1."""

    def __init__(
        self,
        frozen: FrozenSpeech,
        recordings: np.ndarray,
        kinds: Sequence[int] = range(len(PIECES_S)),
        copies: bool = True,
    ):
        wanted = np.isin(frozen.recording, recordings) & np.isin(frozen.kind, kinds)
        self.index = np.flatnonzero(wanted & (copies | (frozen.copy == 0)))
        self.recording, self.kind = frozen.recording[self.index], frozen.kind[self.index]
        _, same, counts = np.unique(self.recording * len(PIECES_S) + self.kind, return_inverse=True, return_counts=True)
        self.weight = (1 / (counts[same] * len(kinds))).astype(np.float32)

    def of(self, recordings: np.ndarray) -> np.ndarray:
        """Places of the recordings' pieces."""
        return np.flatnonzero(np.isin(self.recording, recordings))


def _weighed_mean(statistics: np.ndarray, pieces: _Pieces, around: np.ndarray, power: int) -> np.ndarray:
    """Mean over pieces of what lies around a value to a power, float64 [layers, features]; a part of them at a time."""
    total = np.zeros(around.shape)
    for first in range(0, len(pieces.index), _PIECES_AT_ONCE):
        some = slice(first, first + _PIECES_AT_ONCE)
        weight = pieces.weight[some, None, None].astype(np.float64)
        total += ((statistics[pieces.index[some]] - around) ** power * weight).sum(axis=0)
    return total / pieces.weight.sum(dtype=np.float64)
