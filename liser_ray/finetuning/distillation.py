"""What a speech model learns of other teachers while it is tuned: EmoDistill's student (Shome and Etemad 2024).

Teachers are asked about the labeled recordings themselves, and of each recording the mean over their windows counts:
EmoDistill's have one, the whole utterance. Whatever piece of the recording the model hears should come to that. Of a
scalar that is learned as high or low it is the share of the recording's windows that are high, among those that are one
of both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.finetuning.config import FinetuneConfig
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.data.high_low import splits_of
from liser_ray.student.data.labeled_targets import matched_rows, recording_windows
from liser_ray.student.data.labels_table import LabelsTable, choose_target, open_labels_table
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows
from liser_ray.student.losses import SegmentTarget, target_losses
from liser_ray.student.training.learned import learned_targets, own_heads, refuse_unlearnable
from liser_ray.student.training.recipes import read_recipe
from liser_ray.teachers.targets import Target


class Said(NamedTuple):
    """What teachers say of the recordings, for the models of all folds.

    Attributes:
        by_name: of each target of the table, and of its embedding, float32 [N, D] and bool [N].
        targets: of each fold what is learned, by the names of the loss's terms.
    """

    by_name: dict[str, SegmentTarget]
    targets: dict[int, dict[str, Target]]


class Lesson(NamedTuple):
    """What the model of a fold learns beside the labels.

    Attributes:
        loss: weights and temperatures.
        targets: by the names of the loss's terms.
        said: of all N recordings, likewise.
    """

    loss: LossConfig
    targets: Mapping[str, Target]
    said: Mapping[str, SegmentTarget]

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


def loss_of(config: FinetuneConfig) -> LossConfig:
    """The loss of the recipe, with what is given in place of it; UserError: it names a target that is not there."""
    return read_recipe(config.recipe).loss(config.loss)


def check_lesson(config: FinetuneConfig, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
    """Refuse, with a `UserError`, what no model of these folds can learn, before anything is heard."""
    loss = loss_of(config)
    if loss.taught and not config.distil_labeled:
        raise UserError(
            f"{config.recipe} learns from teachers: as --distil_labeled give the output of label_corpus.py with "
            "--input as --labeled here."
        )
    if config.distil_labeled and not loss.taught:
        raise UserError(f"{config.recipe} learns from labels alone: give a --recipe with teachers, such as emodistill.")
    if loss.embedding_size != LossConfig.embedding_size:
        raise UserError("--loss.embedding_size is of the small student: a model that is tuned learns whole embeddings.")
    if loss.penalty or loss.attributes or loss.clusters:
        raise UserError("--loss.penalty, attributes and clusters are of the small student: leave them out here.")
    if not loss.taught:
        return
    table = open_labels_table(config.distil_labeled)
    for targets in _targets(config, table, labeled.name, labeled.labels, folds).values():
        refuse_unlearnable(targets, loss, labeled.labels)
        for name in loss.embeddings:
            size, given = targets[name].embedding_size, config.projections.get(name)
            if given != size:
                raise UserError(
                    f"The embedding of {targets[name].name} has {size} dimensions, and its projection "
                    f"{given or 'is not there'}: give --projections.{name} {size}."
                )


def read_said(config: FinetuneConfig, speech: LabeledSpeech, folds: Sequence[Fold]) -> Said | None:
    """What the teachers say of the recordings; None: nobody is asked."""
    loss = loss_of(config)
    if not loss.taught:
        return None
    table = open_labels_table(config.distil_labeled)
    matches = matched_rows(speech, table)
    targets = {
        number: learned_targets(of_fold, loss)
        for number, of_fold in _targets(config, table, speech.name, speech.labels, folds).items()
    }
    wanted = {one.name: one for of_fold in targets.values() for one in of_fold.values()}.values()
    splits = splits_of(table, wanted, loss.scalars)
    settings = SegmentSettings(speech.labels, scales=table.scales, splits=splits)
    windows = recording_windows(table, matches, len(speech), wanted, settings)
    return Said({name: _means(one) for name, one in windows.items()}, targets)


def lesson(config: FinetuneConfig, said: Said | None, fold: Fold) -> Lesson | None:
    """That of a fold's model."""
    if said is None:
        return None
    targets = said.targets[fold.index]
    return Lesson(loss_of(config), targets, {name: said.by_name[one.name] for name, one in targets.items()})


def lesson_facts(config: FinetuneConfig) -> dict[str, Any]:
    """What decides on a model beside the labels, for JSON; nothing where that is nothing."""
    loss, found = loss_of(config), dict[str, Any]()
    if loss != LossConfig():
        found = {"recipe": config.recipe, "loss": asdict(loss)}
    if loss.taught:
        found["distil_labeled"] = open_labels_table(config.distil_labeled).sha256
    return found | ({"projections": config.projections} if config.projections else {})


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
