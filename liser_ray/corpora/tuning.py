"""Whom a teacher has heard, and the rule that no student is scored on them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from liser_ray.runtime.errors import UserError


@dataclass(frozen=True)
class TeacherTuning:
    """On what a speech teacher was tuned; the labels table carries it in its recipe."""

    labeled: str  # name of the labeled set
    fold: int
    heard: tuple[str, ...]  # speakers whose recordings chose its weights, its epoch or its temperature, in order
    temperature: float  # of its 0.5-s windows; the softmaxes in the table are without it

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TeacherTuning":
        """As a labels table has it; tables of earlier versions say more."""
        return cls(content["labeled"], content["fold"], tuple(content["heard"]), content["temperature"])


def refuse_leak(tuning: TeacherTuning, labeled: str, scored_speakers: Collection[str]) -> None:
    """Refuse a teacher that has heard test or validation speakers of a student's fold.

    Args:
        tuning: of the teacher.
        labeled: name of the student's labeled set; the same name in another set is another speaker.
        scored_speakers: of the student's fold.
    """
    both = sorted(set(tuning.heard) & set(scored_speakers)) if tuning.labeled == labeled else []
    if both:
        raise UserError(
            f"The teacher of {tuning.labeled} fold {tuning.fold} was tuned on speakers {', '.join(both)}, on whom the "
            "student would be scored. Take the teacher of the student's own fold."
        )
