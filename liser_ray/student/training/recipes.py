"""Recipes: YAML files that say which teachers a student learns from, and what else is not as in the paper.

Those with a name are in ``configs/recipes`` of the repository, and come with the package. A file has any of the keys
``teachers`` (a list of "speech" and "video"), ``network``, ``loss`` and ``train`` (fields of these settings), and
``extends``, the name of another recipe whose settings it has where it says nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, cast

import yaml

from liser_ray.results.paper import with_share
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig

TEACHERS = ("speech", "video")
_GROUPS = ("network", "loss", "train")
_FOLDER = files("liser_ray") / "recipes"  # a link to configs/recipes


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file says.

    Attributes:
        name: of the file, without its folder and ending.
        teachers: those that the student learns from, of `TEACHERS`.
        settings: in place of the paper's, by the fields' names with dots, such as "network.pooling".
    """

    name: str
    teachers: tuple[str, ...]
    settings: Mapping[str, Any]

    def loss(self, given: LossConfig) -> LossConfig:
        """The recipe's loss: λ of teachers that it leaves out is 0, and confidence weighs only where it says so.

        Args:
            given: settings of what the recipe leaves in; confidence "none" is then as in the recipe.
        """
        confidence = self.settings.get("loss.confidence", "none")
        return replace(
            given,
            lambda_sd=given.lambda_sd if "speech" in self.teachers else 0.0,
            lambda_vd=given.lambda_vd if "video" in self.teachers else 0.0,
            confidence=confidence if "none" in (confidence, given.confidence) else given.confidence,
        )


def read_recipe(recipe: str) -> Recipe:
    """A recipe by name, or by the address of its file (``.yaml``), a path or on S3.

    Raises:
        UserError: there is none, or it is not one.
    """
    is_file = recipe.endswith((".yaml", ".yml"))
    source = _FOLDER / f"{recipe}.yaml"
    if not is_file and not source.is_file():
        raise UserError(f"--recipe {recipe}: give a YAML file, or one of {', '.join(recipe_names())}.")
    try:
        if is_file:
            from liser_ray.storage.files import read_bytes  # PyArrow, for the few who need it

            text = read_bytes(recipe)
        else:
            text = source.read_bytes()
        content = yaml.safe_load(text) or {}
        unknown = content.keys() - {"teachers", "extends", *_GROUPS}
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise UserError(f"--recipe {recipe} can't be read: {error}") from error
    teachers = content.get("teachers", [])
    if unknown or not isinstance(teachers, list) or not set(teachers) <= set(TEACHERS):
        raise UserError(
            f"--recipe {recipe}: a recipe has the keys teachers (a list of {', '.join(TEACHERS)}), extends, "
            f"{', '.join(_GROUPS)}; this one has {', '.join(content)}, with the teachers {teachers}."
        )
    base = read_recipe(content["extends"]) if "extends" in content else Recipe("", (), {})
    own = {name: value for group in _GROUPS for name, value in _flat(group, content.get(group) or {})}
    chosen = tuple(teachers) if "teachers" in content else base.teachers
    return Recipe(PurePosixPath(recipe).stem if is_file else recipe, chosen, {**base.settings, **own})


def recipe_names() -> list[str]:
    """Of the recipes that come with the package: first what the paper has, then ours."""
    names = [one.name.removesuffix(".yaml") for one in _FOLDER.iterdir() if one.name.endswith(".yaml")]
    return sorted(names, key=lambda name: ("extends" in _FOLDER.joinpath(f"{name}.yaml").read_text(), len(name), name))


def defaults_of(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 (settings with a recipe)
    """What the recipe of some settings has in place of the paper's, by the fields' names, with dots."""
    return read_recipe(given.recipe).settings


def run_name(recipe: str, loss: LossConfig, two_stage: bool, labeled_fraction: float) -> str:
    """A recipe with the paper's ablations, as "vid-dstl+distill-ce", "sp-dstl+two-stage", "no-dstl+50%-labels"."""
    found = read_recipe(recipe)
    name = found.name
    if found.teachers:
        confidence = found.loss(loss).confidence
        if confidence != found.settings.get("loss.confidence", LossConfig.confidence):
            name += f"+{confidence}"
        if loss.distillation != found.settings.get("loss.distillation", LossConfig.distillation):
            name += f"+distill-{loss.distillation}"
        name += "+two-stage" * two_stage
    return with_share(name, round(100 * labeled_fraction))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            yield from _flat(name, value)
        else:
            yield name, cast("Any", tuple(value) if isinstance(value, list) else value)
