"""The card of a trained teacher."""

import json
from dataclasses import dataclass, replace
from typing import Any

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import exists, read_bytes
from liser_ray.teachers.targets import HeldOut, Target, TunedOn, with_teachers

BUNDLE_FILE = "bundle.json"
FORMAT = 2


@dataclass(frozen=True)
class TeacherBundle:
    """What ``bundle.json`` says of a teacher.

    Attributes:
        labels: in the order of its outputs.
        tuned_on: the set, fold and speakers that it was tuned on, its own teachers' among them; None if one of these
            does not say.
        content: the whole file.
    """

    labels: tuple[str, ...]
    tuned_on: TunedOn | None
    content: dict[str, Any]

    def temperature(self, hears_s: float) -> float:
        """Of windows that are heard with so many seconds around them, fitted to its selection recordings.

        The nearest that was fitted; softmaxes are without it. 0 is a window itself, whatever its length.
        """
        return float(_nearest(self.content["temperatures"], hears_s))

    def held_out(self, hears_s: float) -> HeldOut | None:
        """How good it is on its selection recordings, by means of windows heard so; None of an older card."""
        found = self.content.get("held_out")
        return HeldOut(**_nearest(found, hears_s)) if found else None


def _nearest(by_seconds: dict[str, Any], hears_s: float) -> Any:  # noqa: ANN401 (of the card)
    return by_seconds[min(by_seconds, key=lambda heard: abs(float(heard) - hears_s))]


def read_bundle(uri: str) -> TeacherBundle:
    """Read the card in a folder or below an ``s3://`` address.

    Raises:
        UserError: there is none, or one of another format.
    """
    path = join(absolute(uri), BUNDLE_FILE)
    if not exists(path):
        raise UserError(f"{uri} has no {BUNDLE_FILE}: give a teacher that a job of finetune_*.py has made.")
    content = json.loads(read_bytes(path))
    if content.get("format") != FORMAT:
        raise UserError(f"{path} has the format {content.get('format')}; this version reads {FORMAT}.")
    speakers = content["speakers"]
    heard = tuple(sorted({*speakers["train"], *speakers["selection"]}))
    own = TunedOn(content["labeled"], content["fold"], heard, content.get("labeled_fraction", 1.0))
    return TeacherBundle(
        labels=tuple(content["labels"]),
        tuned_on=with_teachers(own, content.get("teachers", {})),
        content=content,
    )


def classifier_target(
    name: str,
    labels: tuple[str, ...],
    sha256: str,
    teacher: str,
    bundle: TeacherBundle | None,
    embedding_size: int = 0,
    window_s: float = 0.0,
    hears_s: float = 0.0,
) -> Target:
    """The target of a classifier, with what its card says of it, if it has one; fields as of `Target`.

    Windows follow one another, and ``hears_s`` is of `TeacherBundle.temperature`.
    """
    target = Target(name, "distribution", labels, window_s, window_s, sha256, teacher, embedding_size)
    if bundle is None:
        return target
    return replace(
        target,
        tuned_on=bundle.tuned_on,
        temperature=bundle.temperature(hears_s),
        held_out=bundle.held_out(hears_s),
    )


def find_bundle(folder: str) -> TeacherBundle | None:
    """The card of a teacher's folder, or None for one that was made by other means."""
    return read_bundle(folder) if exists(join(absolute(folder), BUNDLE_FILE)) else None
