"""The paper's configurations by name, and what a run that departs from them is called."""

from dataclasses import replace

from liser_ray.protocol.paper import RecipeName, with_share
from liser_ray.student.config import LossConfig


def loss_of(recipe: RecipeName, loss: LossConfig) -> LossConfig:
    """The loss of a recipe: λ of the teachers that it leaves out is 0, and only conf-vid-sp-dstl weighs by confidence.

    Args:
        recipe: its name.
        loss: settings of what the recipe leaves in; confidence "none" counts as "raw" in conf-vid-sp-dstl.
    """
    if "sp-" not in recipe:
        loss = replace(loss, lambda_sd=0.0)
    if "vid-" not in recipe:
        loss = replace(loss, lambda_vd=0.0)
    if not recipe.startswith("conf-"):
        return replace(loss, confidence="none")
    return replace(loss, confidence="raw") if loss.confidence == "none" else loss


def run_name(recipe: RecipeName, loss: LossConfig, two_stage: bool, labeled_fraction: float) -> str:
    """A recipe with the paper's ablations, as "vid-dstl+distill-ce", "sp-dstl+two-stage", "no-dstl+50%-labels"."""
    name: str = recipe
    if recipe != "no-dstl":
        name += "+calibrated" * (loss_of(recipe, loss).confidence == "calibrated")
        name += "+distill-ce" * (loss.distillation == "ce")
        name += "+two-stage" * two_stage
    return with_share(name, round(100 * labeled_fraction))
