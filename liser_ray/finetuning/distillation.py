"""What a speech model learns of other teachers while it is tuned: EmoDistill's student (Shome and Etemad 2024).

Teachers are asked about the labeled recordings themselves, and of each recording the mean over their windows counts:
EmoDistill's have one, the whole utterance. Whatever piece of the recording the model hears should come to that. Of a
scalar that is learned as high or low it is the share of the recording's windows that are high, among those that are one
of both.

A recipe in two stages learns that of unlabeled recordings first, the rows of a labels table, and then labels alone. The
rows stand behind the labeled recordings as more of them, of which teachers alone say something.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.segments import WHOLE
from liser_ray.corpora.speech import LabeledRecordings, LabeledSpeech
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.finetuning.config import FinetuneConfig
from liser_ray.runtime.display import Counting
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.data.high_low import splits_of
from liser_ray.student.data.labeled_targets import matched_rows, recording_windows
from liser_ray.student.data.labels_table import LabelsTable, choose_target, open_labels_table
from liser_ray.student.data.order import placebo_rows
from liser_ray.student.data.own_rows import find_own_rows
from liser_ray.student.data.unlabeled import (
    SegmentSettings,
    TargetWindows,
    groups_in_order,
    target_columns,
    target_windows,
)
from liser_ray.student.losses import SegmentTarget, target_losses
from liser_ray.student.training.learned import learned_targets, own_heads, refuse_unlearnable
from liser_ray.student.training.recipes import read_recipe
from liser_ray.teachers.targets import Target

_NONE = np.zeros(0, np.int64)


class Said(NamedTuple):
    """What teachers say of the recordings, for the models of all folds.

    Attributes:
        by_name: of each target of the table, and of its embedding, float32 [N, D] and bool [N].
        targets: of each fold what is learned, by the names of the loss's terms.
        unlabeled: of each fold as of a `Lesson`: none is, or may be, of its validation or test speakers.
        told_of: of each fold what is said of which recording each one gets, int64 [N]: of itself, but for a placebo.
    """

    by_name: dict[str, SegmentTarget]
    targets: dict[int, dict[str, Target]]
    unlabeled: dict[int, np.ndarray]
    told_of: dict[int, np.ndarray]


class Lesson(NamedTuple):
    """What the model of a fold learns beside the labels.

    Attributes:
        loss: weights and temperatures.
        targets: by the names of the loss's terms.
        said: of all N recordings, likewise.
        unlabeled: which of them a first stage learns from, int64 [n], behind the labeled ones; none: there is none.
    """

    loss: LossConfig
    targets: Mapping[str, Target]
    said: Mapping[str, SegmentTarget]
    unlabeled: np.ndarray = _NONE

    @property
    def heads(self) -> dict[str, int]:
        """How many values each target has that is learned by a head of its own, by name."""
        return own_heads(self.targets, self.loss)

    def terms(
        self, logits: Tensor, answers: Mapping[str, Tensor], recordings: np.ndarray, weights: Tensor
    ) -> dict[str, Tensor]:
        """Each term's sum over n pieces of recordings.

        Args:
            logits: of the pieces, float [n, K].
            answers: of `answers_to_teachers` for them; what has none there is learned by the logits.
            recordings: int64 [n], which each piece is of.
            weights: of the pieces, float [n].
        """
        found = {}
        at = torch.from_numpy(recordings)
        for name, weight in self.loss.weights.items():
            target = self.targets[name]
            outputs = answers.get(name, logits).to(logits.dtype)
            temperature = self.loss.temperatures.get(name, 1.0)
            said = SegmentTarget(*(one[at].to(logits.device) for one in self.said[name]))
            found[name] = weight * (target_losses(outputs, said, self.loss, target, temperature) @ weights.to(logits))
        return found


class Course:
    """Which recordings the epochs of a training learn from, and what their labels weigh.

    Args:
        recordings: all of them.
        train: int64 [n], the labeled ones to learn from.
        lesson: what is learned beside labels, or before them.
        weights: of the labels, float32 [K].
        epochs: of a stage.
    """

    def __init__(
        self, recordings: LabeledRecordings, train: np.ndarray, lesson: Lesson | None, weights: np.ndarray, epochs: int
    ):
        unlabeled = lesson.unlabeled if lesson else _NONE
        self._stages = [unlabeled, train] if len(unlabeled) else [train]
        self._epochs = epochs
        self.everything = np.concatenate(self._stages)
        self.of_label = weights[recordings.label_index]
        self.of_label[unlabeled] = 0
        self._of_item = self.of_label.copy()
        self._of_item[unlabeled] = 1

    def recordings(self, epoch: int) -> np.ndarray:
        """Those of an epoch, from 1 on, int64 [n]."""
        return self._stages[(epoch - 1) // self._epochs]

    def weight(self, recordings: np.ndarray) -> float:
        """By what the loss of a batch of these is divided: the weights of their labels, 1 of each without."""
        return float(self._of_item[recordings].sum())


def loss_of(config: FinetuneConfig) -> LossConfig:
    """The loss of the recipe, with what is given in place of it; UserError: it names a target that is not there."""
    return read_recipe(config.recipe).loss(config.loss)


def check_lesson(config: FinetuneConfig, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
    """Refuse, with a `UserError`, what no model of these folds can learn, before anything is heard."""
    loss = loss_of(config)
    option, other = ("unlabeled", "distil_labeled") if config.stages == 2 else ("distil_labeled", "unlabeled")
    if loss.taught and not getattr(config, option):
        of = "the output of label_corpus.py"
        if config.stages == 1:
            of += " of the labeled recordings, --input as --labeled here"
        raise UserError(f"{config.recipe} learns from teachers: as --{option} give {of}.")
    if not loss.taught and (config.stages == 2 or config.train.placebo or getattr(config, option)):
        raise UserError(
            f"{config.recipe}, with these weights, learns from labels alone: give a --recipe with teachers, such as "
            "emodistill."
        )
    if getattr(config, other):
        raise UserError(
            f"{config.recipe} learns in {'two stages' if config.stages == 2 else 'one stage'}, without --{other}: give "
            f"another --recipe, such as {'pretext-joint' if config.stages == 2 else 'pretext'}."
        )
    if loss.embedding_size != LossConfig.embedding_size:
        raise UserError("--loss.embedding_size is of the small student: a model that is tuned learns whole embeddings.")
    if loss.penalty or loss.attributes or loss.clusters:
        raise UserError("--loss.penalty, attributes and clusters are of the small student: leave them out here.")
    if not loss.taught:
        return
    table = _table(config)
    for targets in _targets(config, table, labeled.name, labeled.labels, folds).values():
        refuse_unlearnable(targets, loss, labeled.labels)
        for name in loss.embeddings:
            size, given = targets[name].embedding_size, config.projections.get(name)
            if given != size:
                raise UserError(
                    f"The embedding of {targets[name].name} has {size} dimensions, and its projection "
                    f"{given or 'is not there'}: give --projections.{name} {size}."
                )


def heard_and_said(
    config: FinetuneConfig, speech: LabeledSpeech, folds: Sequence[Fold]
) -> tuple[LabeledSpeech, Said | None]:
    """The recordings that are learned from, and what the teachers say of them; None: nobody is asked.

    Rows of a table without labels come after the labeled recordings, with their sound (115 MB an hour), and have the
    first label and no speaker.
    """
    loss = loss_of(config)
    if not loss.taught:
        return speech, None
    table, n_labeled = _table(config), len(speech)
    targets = {
        number: learned_targets(of_fold, loss)
        for number, of_fold in _targets(config, table, speech.name, speech.labels, folds).items()
    }
    wanted = {one.name: one for of_fold in targets.values() for one in of_fold.values()}.values()
    splits = splits_of(table, wanted, loss.scalars)
    settings = SegmentSettings(speech.labels, scales=table.scales, splits=splits)
    unlabeled = dict.fromkeys(targets, _NONE)
    if config.stages == 2:
        own = find_own_rows(speech, table)
        for fold in folds:
            unlabeled[fold.index] = n_labeled + np.flatnonzero(~own.of_speakers(fold.test | fold.validation))
            if not len(unlabeled[fold.index]):
                raise UserError(f"All rows of {table.uri} are recordings of speakers on whom a model would be scored.")
        speech, rows = _with_rows(speech, table, target_columns(wanted, settings))
        windows = {one.name: target_windows(rows, one, settings) for one in wanted}
        nothing = np.zeros(n_labeled, np.int64)
        windows = {name: replace(one, ends=np.append(nothing, one.ends)) for name, one in windows.items()}
    else:
        windows = recording_windows(table, matched_rows(speech, table), n_labeled, wanted, settings)
    told_of = dict[int, np.ndarray]()
    for fold in folds:
        told_of[fold.index] = order = np.arange(len(speech))
        if config.train.placebo:
            kept = unlabeled[fold.index] if config.stages == 2 else speech.of_speakers(fold.train)
            order[kept] = kept[placebo_rows(len(kept), config.train.seed)]
    return speech, Said({name: _means(one) for name, one in windows.items()}, targets, unlabeled, told_of)


def lesson(config: FinetuneConfig, said: Said | None, fold: Fold) -> Lesson | None:
    """That of a fold's model."""
    if said is None:
        return None
    targets, told_of = said.targets[fold.index], torch.from_numpy(said.told_of[fold.index])
    of_terms = {
        name: SegmentTarget(*(part[told_of] for part in said.by_name[one.name])) for name, one in targets.items()
    }
    return Lesson(loss_of(config), targets, of_terms, said.unlabeled[fold.index])


def targets_of(config: FinetuneConfig, name: str, labels: tuple[str, ...], fold: Fold) -> dict[str, Target]:
    """The targets that a fold's model learns from, by name; errors as of `choose_target`."""
    return _targets(config, _table(config), name, labels, [fold])[fold.index] if loss_of(config).taught else {}


def lesson_facts(config: FinetuneConfig) -> dict[str, Any]:
    """What decides on a model beside the labels, for JSON; nothing where that is nothing."""
    loss, found = loss_of(config), dict[str, Any]()
    if loss != LossConfig(confidence="none"):
        found = {"recipe": config.recipe, "loss": asdict(loss)}
    if loss.taught:
        found["unlabeled" if config.stages == 2 else "distil_labeled"] = _table(config).sha256
    return found | ({"projections": config.projections} if config.projections else {})


def _table(config: FinetuneConfig) -> LabelsTable:
    return open_labels_table(config.unlabeled if config.stages == 2 else config.distil_labeled)


def _with_rows(speech: LabeledSpeech, table: LabelsTable, columns: list[str]) -> tuple[LabeledSpeech, pa.Table]:
    """Labeled recordings and the rows of a table behind them, and these columns of the rows."""
    read, sounds = [], [speech.pcm]
    with Counting("rows of labels read", table.n_rows) as counting:
        for rows, sound in groups_in_order(table, ["audio", *columns]):
            read.append(rows)
            sounds += sound
            counting.show(len(sounds) - 1)
    n_rows = len(sounds) - 1
    ends = speech.ends[-1] + np.cumsum([len(one) for one in sounds[1:]])
    behind = replace(
        speech,
        pcm=np.concatenate(sounds),
        ends=np.append(speech.ends, ends),
        label_index=np.append(speech.label_index, np.zeros(n_rows, np.int64)),
        speakers=(*speech.speakers, *[""] * n_rows),
        uris=(*speech.uris, *[table.uri] * n_rows),
        segments=(*speech.segments, *[WHOLE] * n_rows),
    )
    return behind, pa.concat_tables(read)


def _targets(
    config: FinetuneConfig, table: LabelsTable, name: str, labels: tuple[str, ...], folds: Collection[Fold]
) -> dict[int, dict[str, Target]]:
    """Of each fold the targets that its model may learn from, by name; errors as of `choose_target`."""
    names = loss_of(config).taught
    return {
        fold.index: {one: choose_target(table, one, name, {name: labels}, fold, config.trusted) for one in names}
        for fold in folds
    }


def _means(windows: TargetWindows) -> SegmentTarget:
    """Of each recording the mean over its windows that count."""
    n_windows = np.diff(windows.ends, prepend=0)
    recording = np.repeat(np.arange(len(n_windows)), n_windows)[windows.counted]
    counts = np.bincount(recording, minlength=len(n_windows))
    sums = np.zeros((len(n_windows), windows.values.shape[1]), np.float32)
    np.add.at(sums, recording, windows.values[windows.counted].astype(np.float32))
    means = sums / np.maximum(counts, 1)[:, None].astype(np.float32)
    return SegmentTarget(torch.from_numpy(means), torch.from_numpy(counts > 0))
