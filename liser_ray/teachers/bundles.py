"""The card of a trained speech teacher, and the rule that no student is scored on whom its teacher has heard."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from liser_ray.errors import UserError
from liser_ray.storage import exists, join, normalise, read_bytes

BUNDLE_FILE = "bundle.json"
FORMAT = 1


@dataclass(frozen=True)
class TeacherBundle:
    """What ``bundle.json`` says of a teacher.

    Attributes:
        labeled: name of the labeled set it was tuned on.
        labels: in the order of its outputs.
        fold: number of the fold.
        heard: speakers whose recordings chose its weights, its epoch or its temperature.
        temperature: of its 0.5-s windows.
        content: the whole file.
    """

    labeled: str
    labels: tuple[str, ...]
    fold: int
    heard: frozenset[str]
    temperature: float
    content: dict[str, Any]


def read_bundle(uri: str) -> TeacherBundle:
    """Read a bundle's card.

    Args:
        uri: of the folder; a path or ``s3://`` address.

    Raises:
        UserError: there is none, or one of another format.
    """
    path = join(normalise(uri), BUNDLE_FILE)
    if not exists(path):
        raise UserError(f"{uri} has no {BUNDLE_FILE}: give a teacher that finetune_speech_teacher.py has made.")
    content = json.loads(read_bytes(path))
    if content.get("format") != FORMAT:
        raise UserError(f"{path} has the format {content.get('format')}; this version reads {FORMAT}.")
    speakers = content["speakers"]
    return TeacherBundle(
        labeled=content["labeled"],
        labels=tuple(content["labels"]),
        fold=content["fold"],
        heard=frozenset(speakers["train"]) | frozenset(speakers["selection"]),
        temperature=content["temperature"],
        content=content,
    )


def find_bundle(folder: str) -> TeacherBundle | None:
    """The card of a teacher's folder, or None for one that was made by other means."""
    return read_bundle(folder) if exists(join(normalise(folder), BUNDLE_FILE)) else None


def refuse_leak(bundle: TeacherBundle, labeled: str, scored_speakers: Collection[str]) -> None:
    """Refuse a teacher that has heard speakers on whom a student is to be scored (its test and validation speakers).

    Args:
        bundle: of the teacher.
        labeled: name of the student's labeled set; the same name in another set is another speaker.
        scored_speakers: of the student's fold.

    Raises:
        UserError: with the speakers.
    """
    both = sorted(bundle.heard & set(scored_speakers)) if bundle.labeled == labeled else []
    if both:
        raise UserError(
            f"The teacher of {bundle.labeled} fold {bundle.fold} was tuned on speakers {', '.join(both)}, on whom the "
            "student would be scored. Take the teacher of the student's own fold."
        )
