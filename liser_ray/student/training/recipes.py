"""Recipes by name: the paper's configurations, our stronger one, and what a run that departs from them is called."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from liser_ray.results.paper import BASE, RecipeName, with_share
from liser_ray.student.config import LossConfig

Recipe = Literal[
    RecipeName,
    "strong",
    "strong-50k",
    "strong-vid-dstl",
    "strong-sp-dstl",
    "strong-conf-sp-dstl",
    "strong-vid-sp-dstl",
    "strong-conf-vid-sp-dstl",
]
"""The paper's rows, and the same with the network and the training of "strong" (docs/recipe.md), which alone, as
"no-dstl", learns from labels only. "strong-50k" is a network of half the size."""

STRONG: Recipe = "strong"

LABELS_ALONE: tuple[Recipe, ...] = (BASE, STRONG, "strong-50k")
"""Recipes without a teacher."""

_STRONG: dict[str, Any] = {
    "network.pooling": "attention",
    "network.normalisation": "utterance-mean",
    "network.dropout": 0.2,
    "network.filters": (24, 48, 80),
    "network.hidden_size": 44,
    "network.bidirectional": True,
    "loss.label_smoothing": 0.1,
    "train.epochs": 100,
    "train.keep": "last",
    "train.validate_every": 10,
    "train.batch_size": 16,
    "train.learning_rate": 2e-3,
    "train.schedule": "cosine",
    "train.class_weights": "balanced",
    "train.augment.band_masks": 1,
    "train.augment.frame_masks": 1,
    "train.augment.speeds": (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15),
}


def defaults_of(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 (settings with a recipe)
    """What the recipe of some settings has in place of the paper's, by the fields' names, with dots."""
    recipe: Recipe = given.recipe
    if not recipe.startswith(STRONG):
        return {}
    return _STRONG | ({"network.filters": (16, 32, 60), "network.hidden_size": 30} if recipe == "strong-50k" else {})


def loss_of(recipe: Recipe, loss: LossConfig) -> LossConfig:
    """The loss of a recipe: λ of the teachers that it leaves out is 0, and only the conf- ones weigh by confidence.

    Args:
        recipe: its name.
        loss: settings of what the recipe leaves in; confidence "none" counts as "raw" in the conf- ones.
    """
    if "sp-" not in recipe:
        loss = replace(loss, lambda_sd=0.0)
    if "vid-" not in recipe:
        loss = replace(loss, lambda_vd=0.0)
    if "conf-" not in recipe:
        return replace(loss, confidence="none")
    return replace(loss, confidence="raw") if loss.confidence == "none" else loss


def run_name(
    recipe: Recipe, loss: LossConfig, two_stage: bool, labeled_fraction: float, of_students: bool = False
) -> str:
    """A recipe with the paper's ablations, as "vid-dstl+distill-ce", "sp-dstl+two-stage", "no-dstl+50%-labels".

    With ``of_students`` its speech teachers are trained students: "strong-sp-dstl+self", which another one's labels
    would not make the same result.
    """
    name: str = recipe
    if recipe not in LABELS_ALONE:
        name += "+self" * (of_students and loss_of(recipe, loss).lambda_sd > 0)
        name += "+calibrated" * (loss_of(recipe, loss).confidence == "calibrated")
        name += "+distill-ce" * (loss.distillation == "ce")
        name += "+two-stage" * two_stage
    return with_share(name, round(100 * labeled_fraction))
