"""Emotions by rules on the face's action units: after the third pretext task of Goncalves & Busso (2022)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.batches import pictures
from liser_ray.teachers.blendshapes import NAMES, Blendshapes
from liser_ray.teachers.clips import ClipTeacher
from liser_ray.teachers.faces import load_onnx, prepare, read_description, weights_beside
from liser_ray.teachers.kinds import heard_beside
from liser_ray.teachers.kinds.action_units import Options
from liser_ray.teachers.targets import NOBODY, TunedOn
from liser_ray.training.precision import Precision

NEUTRAL = "neutral"
"""Where no rule fires."""

_EMFACS = files("liser_ray") / "action_units" / "emfacs.yaml"  # a link to configs/action_units
_HINT = (
    "Get MediaPipe's face_landmarker.task (docs/label.md), or describe an ONNX model that scores action units "
    "(docs/pretext.md), and give its path, s3:// or hf:// address:"
)

Scores = Callable[[Tensor], Tensor]
"""Of clips uint8 [N, T, 224, 224, 3] on the device: float32 [N * T, S] of their pictures, 0..1."""


@dataclass(frozen=True)
class Unit:
    """When an action unit is there.

    Attributes:
        scores: names of the scores of which it is the mean.
        above: it is there where the mean is above this, 0..1.
    """

    scores: tuple[str, ...]
    above: float


@dataclass(frozen=True)
class Rules:
    """What a file of rules says.

    Attributes:
        units: action units by their numbers.
        rules: of each emotion combinations of units, any of which tells of it.
    """

    units: dict[int, Unit]
    rules: dict[str, list[list[int]]]


@dataclass(frozen=True, eq=False)
class Voter:
    """Rules for a model's scores.

    Attributes:
        labels: emotions, and first `NEUTRAL`.
        units: bool [U, S], which scores each unit is made of.
        above: float32 [U], 0..1.
        combinations: bool [C, U].
        told: int64 [C], of which label each tells.
    """

    labels: tuple[str, ...]
    units: Tensor
    above: Tensor
    combinations: Tensor
    told: Tensor

    def votes(self, scores: Tensor) -> Tensor:
        """Of each picture the label that its scores tell of, int64 [F] of float32 [F, S].

        A combination fires where all its units are there. Of several the one with the most units counts, of these the
        one whose units have the highest mean.
        """
        units = scores @ (self.units / self.units.sum(dim=1, keepdim=True)).T
        sizes = self.combinations.sum(dim=1)
        fires = (units > self.above).float() @ self.combinations.float().T >= sizes
        means = units @ (self.combinations / sizes[:, None]).T
        ranks = torch.where(fires, 2 * sizes + means, 0.0)
        highest, first = ranks.max(dim=1)
        return torch.where(highest > 0, self.told[first], 0)

    def shares(self, scores: Tensor, n_frames: int) -> Tensor:
        """Of each clip of ``n_frames`` pictures the share that votes for each label, float32 [N, K]."""
        votes = F.one_hot(self.votes(scores), len(self.labels)).float()
        return votes.unflatten(0, (-1, n_frames)).mean(dim=1)


def make_voter(rules: Rules, names: Sequence[str], source: str) -> Voter:
    """Rules for scores of these names, in order; UserError, which names their ``source``, if they need others."""
    if missing := {one for unit in rules.units.values() for one in unit.scores} - {*names}:
        raise UserError(
            f"{source} has units of the scores {', '.join(sorted(missing))}, and the model gives {', '.join(names)}. "
            "Give rules that fit the model (rules: FILE.yaml, docs/pretext.md)."
        )
    numbers = list(rules.units)
    combinations = [(emotion, one) for emotion, of in rules.rules.items() for one in of]
    labels = (NEUTRAL, *rules.rules)
    return Voter(
        labels,
        torch.tensor([[float(name in rules.units[number].scores) for name in names] for number in numbers]),
        torch.tensor([rules.units[number].above for number in numbers]),
        torch.tensor([[float(number in one) for number in numbers] for _, one in combinations]),
        torch.tensor([labels.index(emotion) for emotion, _ in combinations]),
    )


def read_rules(path: Path) -> Rules:
    """The rules in a YAML file; UserError if it has none, or they are wrong."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Rules)
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: give units and rules, as docs/pretext.md has them.")
        found = Rules(**vars(parser.instantiate_classes(parser.parse_object(dict(content)))))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, jsonargparse.ArgumentError) as error:
        raise UserError(f"{path} has no rules of action units: {error}") from error
    used = {number for of in found.rules.values() for one in of for number in one}
    if unknown := used - found.units.keys():
        raise UserError(f"{path}: a rule needs the units {', '.join(map(str, sorted(unknown)))}, and units lacks them.")
    if not found.rules or not all(of and all(of) for of in found.rules.values()):
        raise UserError(f"{path}: give each emotion of rules at least one combination of units, such as [[6, 12]].")
    if not all(unit.scores and 0 <= unit.above < 1 for unit in found.units.values()):
        raise UserError(f"{path}: each unit needs the names of its scores, and above, from 0 to below 1.")
    if NEUTRAL in found.rules:
        raise UserError(f"{path}: {NEUTRAL} is where no rule fires; leave it out of rules.")
    return found


def load_action_units_teacher(name: str, options: Options, device: torch.device, _: Precision) -> ClipTeacher:
    """Fetch, check and load a model and its rules, in float32 in any case. See `liser_ray.teachers.kinds.action_units`.

    Raises:
        UserError: weights that are missing, of something else, or whose scores are not those of the rules; wrong rules.
    """
    path = fetch(options.weights, f"{_HINT} {name}=action_units:face_landmarker.task.")
    if path.suffix in (".yaml", ".yml"):
        scores, names, digest, tuned_on = _described(path, device)
    else:
        scores, names, digest, tuned_on = _landmarker(path), NAMES, sha256(path), NOBODY
    with as_file(_EMFACS) as emfacs:
        rules = fetch(options.rules, "Give a YAML file with units and rules.") if options.rules else emfacs
        voter, digest = make_voter(read_rules(rules), names, str(rules)), f"{digest}+{sha256(rules)}"

    def classify(clips: Tensor) -> Tensor:
        return voter.shares(scores(clips).float().cpu(), clips.shape[1])

    heard = heard_beside(options.weights) or tuned_on
    return ClipTeacher(name, voter.labels, digest, 0, device, "float32", classify, tuned_on=heard)


def _landmarker(path: Path) -> Scores:
    blendshapes = Blendshapes(path)
    return lambda clips: blendshapes(pictures(clips))


def _described(path: Path, device: torch.device) -> tuple[Scores, tuple[str, ...], str, TunedOn | None]:
    """A model of action units: its scores, their names, its SHA-256, and whom it says that it has heard."""
    model = read_description(path)
    address = weights_beside(path, model)
    weights = fetch(address, _HINT)
    network = load_onnx(weights, model, device)

    def scores(clips: Tensor) -> Tensor:
        outputs = network(prepare(clips, model))
        return outputs if model.output == "probabilities" else outputs.sigmoid()

    try:
        found = scores(torch.zeros(1, 2, 224, 224, 3, dtype=torch.uint8, device=device))
    except Exception as error:  # whatever a foreign network raises when its input is not what it expects
        raise UserError(f"{weights} does not take frames as {path} describes them: {error}") from error
    if found.shape != (2, len(model.labels)):
        raise UserError(f"{weights} gives {tuple(found.shape)} for 2 frames, and {path} {len(model.labels)} labels.")
    if not ((found >= 0) & (found <= 1)).all():
        raise UserError(f"{weights} gives scores that are not in 0..1. Set output: logits in {path}.")
    return scores, model.labels, f"{sha256(weights)}+{sha256(path)}", heard_beside(address)
