"""Recipes: YAML files that say from which targets a student learns, and what else is not as in the paper.

Those with a name are in ``configs/recipes`` of the repository, and come with the package. A file has any of the keys
``network``, ``loss`` and ``train`` (fields of these settings; the names in ``loss: {lambdas: ...}``, ``embeddings`` and
``temperatures`` are those of the targets), and ``extends``, the name of another recipe whose settings it has where it
says nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, cast

import yaml

from liser_ray.results.paper import with_share
from liser_ray.results.set_names import set_names
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import Confidence, LossConfig, NetworkConfig
from liser_ray.student.training.config import Distilled, TrainConfig

_GROUPS = ("network", "loss", "train")
_BY_TARGET = ("lambdas", "embeddings", "temperatures")
_ATTRIBUTES = "loss.attributes"
_FOLDER = files("liser_ray") / "recipes"  # a link to configs/recipes


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file says.

    Attributes:
        name: of the file, without its folder and ending.
        lambdas: weights of the targets that the student learns from, by name, in the order of its heads.
        embeddings: weights of the targets' embeddings that it learns from, by the targets' names.
        temperatures: of the targets in lambdas, by name; those that are not 1.
        settings: in place of the paper's, by the fields' names with dots, such as "network.pooling".
        extends: name of the recipe whose settings it has where it says nothing; "" without one.
        left_out: targets that are not good enough for these students, whatever λ is given.
    """

    name: str
    lambdas: Mapping[str, float]
    embeddings: Mapping[str, float]
    temperatures: Mapping[str, float]
    settings: Mapping[str, Any]
    extends: str
    left_out: frozenset[str] = frozenset()

    @property
    def confidence(self) -> Confidence:
        """Whether what a teacher is sure of counts more in it."""
        found: Confidence = self.settings.get("loss.confidence", "none")
        return found

    def loss(self, given: LossConfig) -> LossConfig:
        """The recipe's loss: weights, and whether confidence weighs, are its own where none is given.

        Args:
            given: settings of what the recipe leaves in. A target (or an embedding) whose weight is given as 0 is left
                out.

        Raises:
            UserError: a weight is given for a target or an embedding that is not the recipe's, or a temperature for a
                target that has no λ there.
        """
        for of, own in (("lambdas", self.lambdas), ("embeddings", self.embeddings), ("temperatures", self.lambdas)):
            if unknown := getattr(given, of).keys() - own.keys():
                learned = " and ".join(own) or ("labels alone" if of != "embeddings" else "none")
                raise UserError(
                    f"--loss.{of}.{min(unknown)}: the recipe {self.name} learns from "
                    f"{'the embeddings of ' * (of == 'embeddings')}{learned}. Give another --recipe, or a file with "
                    f"these {'λ' if of == 'lambdas' else of}."
                )
        lambdas, embeddings = (
            {name: value for name, value in {**own, **other}.items() if value > 0 and name not in self.left_out}
            for own, other in ((self.lambdas, given.lambdas), (self.embeddings, given.embeddings))
        )
        temperatures = {**self.temperatures, **given.temperatures}
        return replace(
            given,
            lambdas=lambdas,
            embeddings=embeddings,
            temperatures={name: value for name, value in temperatures.items() if name in lambdas},
            attributes={name: value for name, value in given.attributes.items() if value > 0},
            confidence=self.confidence if given.confidence == "recipe" else given.confidence,
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
        unknown = content.keys() - {"extends", *_GROUPS}
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise UserError(f"--recipe {recipe} can't be read: {error}") from error
    groups = {group: content.get(group) or {} for group in _GROUPS}
    are_groups = all(isinstance(values, dict) for values in groups.values())
    given = {name: groups["loss"].pop(name, None) for name in _BY_TARGET} if are_groups else {}
    by_target = {name: values for name, values in given.items() if values is not None}
    extends = content.get("extends", "")
    is_name = isinstance(extends, str) and not extends.endswith((".yaml", ".yml"))
    if unknown or not are_groups or not is_name or not all(map(_are_numbers, by_target.values())):
        raise UserError(
            f"--recipe {recipe}: a recipe has the keys extends (a name), {', '.join(_GROUPS)}, and loss has "
            f"{', '.join(_BY_TARGET)} such as {{speech: 1.0, face: 1.0}}; this one is {content}, with {by_target}."
        )
    base = read_recipe(extends) if extends else Recipe("", {}, {}, {}, {}, "")
    own = {name: value for group in _GROUPS for name, value in _flat(group, groups[group])}
    LossConfig(**by_target)  # refuses what is no weight or temperature
    return Recipe(
        name=PurePosixPath(recipe).stem if is_file else recipe,
        **{name: by_target.get(name, getattr(base, name)) for name in _BY_TARGET},
        settings={**base.settings, **own},
        extends=extends,
    )


def _are_numbers(values: Any) -> bool:  # noqa: ANN401 (of a file)
    return isinstance(values, dict) and all(
        isinstance(name, str) and isinstance(value, int | float) for name, value in values.items()
    )


def bases_of(run: str) -> tuple[str, ...]:
    """Names of the recipe that a run's recipe extends, by the name of `run_name`, of the one that this extends ..."""
    recipe = run.partition("+")[0]
    extends = read_recipe(recipe).extends if recipe in recipe_names() else ""
    return (extends, *bases_of(extends)) if extends else ()


def recipe_names() -> list[str]:
    """Of the recipes that come with the package: first what the paper has, then ours."""
    names = [one.name.removesuffix(".yaml") for one in _FOLDER.iterdir() if one.name.endswith(".yaml")]
    return sorted(names, key=lambda name: ("extends" in _FOLDER.joinpath(f"{name}.yaml").read_text(), len(name), name))


def defaults_of(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 (settings with a recipe)
    """What the recipe of some settings has in place of the paper's, by the fields' names, with dots."""
    return read_recipe(given.recipe).settings


def defaults_of_loss(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 (settings with a recipe)
    """Of `defaults_of` those of the loss."""
    return {name: value for name, value in defaults_of(given).items() if name.startswith("loss.")}


def run_name(
    recipe: str,
    loss: LossConfig,
    train: TrainConfig,
    left_out: Collection[str] = (),
    distilled: Distilled = "unlabeled",
    labeled: str = "",
    network: NetworkConfig | None = None,
) -> str:
    """A recipe with the paper's ablations and ours: "vid-dstl+distill-ce", "sp-dstl+two-stage", "no-dstl+50%-labels".

    What learns from other things has another name, so that tables keep it apart: "vid-sp-dstl+no-face" (its weights are
    0, or the target is left out; "+no-face-logits" and "+no-face-embedding" where the other is still learned),
    "sp-dstl+placebo+aligned", "no-dstl+738-steps" (an epoch), "no-dstl+votes+penalty+arousal",
    "sp-dstl+distil-labeled" (too, or "-only"), "strong+on-ravdess-cremad" (``labeled`` is the name of joined sets). So
    has the ``network`` with chunks, "strong+6-chunks"; None: it is no student's.
    """
    found = replace(read_recipe(recipe), left_out=frozenset(left_out))
    name = found.name
    taught = found.loss(loss)
    name += "".join(
        f"+no-{one}" for one in dict.fromkeys([*found.lambdas, *found.embeddings]) if one not in taught.taught
    )
    for what, of, still in (
        ("logits", found.lambdas, taught.lambdas),
        ("embedding", found.embeddings, taught.embeddings),
    ):
        name += "".join(f"+no-{one}-{what}" for one in of if one in taught.taught and one not in still)
    if taught.lambdas:
        if taught.confidence != found.confidence:
            name += f"+{taught.confidence}" if taught.confidence != "none" else "+unweighted"
        if loss.distillation != found.settings.get("loss.distillation", LossConfig.distillation):
            name += f"+distill-{loss.distillation}"
        if loss.heads != found.settings.get("loss.heads", LossConfig.heads):
            name += f"+heads-{loss.heads}"
        if loss.scalars != found.settings.get("loss.scalars", LossConfig.scalars):
            name += f"+{loss.scalars}"
    if taught.taught:
        name += {"unlabeled": "", "both": "+distil-labeled", "labeled": "+distil-labeled-only"}[distilled]
        if train.two_stage != found.settings.get("train.two_stage", False):
            name += "+two-stage" if train.two_stage else "+one-stage"
        name += "+placebo" * train.placebo
        if train.align != found.settings.get("train.align", False):
            name += "+aligned" if train.align else "+not-aligned"
    if train.epoch_steps != found.settings.get("train.epoch_steps", 0):
        name += f"+{train.epoch_steps}-steps"
    if train.truth != found.settings.get("train.truth", TrainConfig.truth):
        name += f"+{train.truth}"
    if (loss.penalty > 0) != (had := found.settings.get("loss.penalty", 0) > 0):
        name += "+no-penalty" if had else "+penalty"
    if [*taught.attributes] != [*found.settings.get(_ATTRIBUTES, {})]:
        name += "".join(f"+{one}" for one in taught.attributes) or "+no-attributes"
    if loss.clusters != found.settings.get("loss.clusters", 0):
        name += f"+{loss.clusters or 'no'}-clusters"
    if network and network.chunks != found.settings.get("network.chunks", 0):
        name += f"+{network.chunks or 'no'}-chunks"
    if len(sets := set_names(labeled)) > 1:
        name += f"+on-{'-'.join(sets)}"
    percent = round(100 * train.labeled_fraction)
    by_speaker = train.labeled_by == "speaker" and percent < 100
    return f"{name}+{percent}%-speakers" if by_speaker else with_share(name, percent)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping) and name != _ATTRIBUTES:
            yield from _flat(name, value)
        else:
            yield name, cast("Any", tuple(value) if isinstance(value, list) else value)
