"""The card of a trained teacher."""

import hashlib
import json
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class LoadedModel:
    """A classifier, ready to run.

    Attributes:
        name: of its target.
        labels: of its K outputs, in order.
        sha256: of its folder; with a base, of the hashes of its own and its base's folder, one after the other.
        bundle: the card of one that this package trained.
    """

    name: str
    labels: tuple[str, ...]
    sha256: str
    bundle: TeacherBundle | None = field(default=None, kw_only=True)

    def target(self, teacher: str, embedding_size: int = 0, window_s: float = 0.0, hears_s: float = 0.0) -> Target:
        """What it says as a teacher's, with what its card says of it; windows follow one another.

        ``hears_s`` is of `TeacherBundle.temperature`; the other arguments are fields of `Target`.
        """
        digest = hashlib.sha256(f"{self.sha256} hears {hears_s}".encode()).hexdigest() if hears_s else self.sha256
        found = Target(self.name, "distribution", self.labels, window_s, window_s, digest, teacher, embedding_size)
        if (card := self.bundle) is None:
            return found
        temperature, held_out = card.temperature(hears_s), card.held_out(hears_s)
        return replace(found, tuned_on=card.tuned_on, temperature=temperature, held_out=held_out)


def find_bundle(folder: str) -> TeacherBundle | None:
    """The card of a teacher's folder, or None for one that was made by other means."""
    return read_bundle(folder) if exists(join(absolute(folder), BUNDLE_FILE)) else None
