"""The card of a trained speech teacher, and the rule that no student is scored on whom its teacher has heard."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import exists, read_bytes

BUNDLE_FILE = "bundle.json"
FORMAT = 1


@dataclass(frozen=True)
class TeacherTuning:
    """On what a speech teacher was tuned; the labels table carries it in its recipe.

    Attributes:
        labeled: name of the labeled set.
        fold: number of the fold.
        heard: speakers whose recordings chose its weights, its epoch or its temperature, in order.
        temperature: of its 0.5-s windows; the softmaxes in the table are without it.
    """

    labeled: str
    fold: int
    heard: tuple[str, ...]
    temperature: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TeacherTuning":
        """As a labels table has it; tables of earlier versions say more."""
        return cls(content["labeled"], content["fold"], tuple(content["heard"]), content["temperature"])


@dataclass(frozen=True)
class TeacherBundle:
    """What ``bundle.json`` says of a teacher.

    Attributes:
        labels: in the order of its outputs.
        tuning: the set, fold and speakers it was tuned on, and its temperature.
        content: the whole file.
    """

    labels: tuple[str, ...]
    tuning: TeacherTuning
    content: dict[str, Any]


def read_bundle(uri: str) -> TeacherBundle:
    """Read a bundle's card.

    Args:
        uri: of the folder; a path or ``s3://`` address.

    Raises:
        UserError: there is none, or one of another format.
    """
    path = join(absolute(uri), BUNDLE_FILE)
    if not exists(path):
        raise UserError(f"{uri} has no {BUNDLE_FILE}: give a teacher that finetune_speech_teacher.py has made.")
    content = json.loads(read_bytes(path))
    if content.get("format") != FORMAT:
        raise UserError(f"{path} has the format {content.get('format')}; this version reads {FORMAT}.")
    speakers = content["speakers"]
    tuning = TeacherTuning(
        labeled=content["labeled"],
        fold=content["fold"],
        heard=tuple(sorted({*speakers["train"], *speakers["selection"]})),
        temperature=content["temperature"],
    )
    return TeacherBundle(labels=tuple(content["labels"]), tuning=tuning, content=content)


def find_bundle(folder: str) -> TeacherBundle | None:
    """The card of a teacher's folder, or None for one that was made by other means."""
    return read_bundle(folder) if exists(join(absolute(folder), BUNDLE_FILE)) else None


def refuse_leak(tuning: TeacherTuning, labeled: str, scored_speakers: Collection[str]) -> None:
    """Refuse a teacher that has heard speakers on whom a student is to be scored (its test and validation speakers).

    Args:
        tuning: of the teacher.
        labeled: name of the student's labeled set; the same name in another set is another speaker.
        scored_speakers: of the student's fold.

    Raises:
        UserError: with the speakers.
    """
    both = sorted(set(tuning.heard) & set(scored_speakers)) if tuning.labeled == labeled else []
    if both:
        raise UserError(
            f"The teacher of {tuning.labeled} fold {tuning.fold} was tuned on speakers {', '.join(both)}, on whom the "
            "student would be scored. Take the teacher of the student's own fold."
        )
