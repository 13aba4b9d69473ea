"""EmoDistill's rows as trainings of our student."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from liser_ray.results.paper import EMODISTILL, set_name
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.student.config import LossConfig
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import Recipe, read_recipe, run_name


def emodistill_students(
    plain: StudentConfig, sets: Mapping[str, str], output: str, left_out: list[str]
) -> Iterator[StudentConfig]:
    """Settings of a training for each row and set; what can't be run is noted.

    Where a teacher is left out by its weights some rows become the same: the one whose name says so is run.

    Args:
        plain: of a student of no row; the settings are those of emodistill.
        sets: addresses of the labeled sets, by name.
        output: of the job.
        left_out: gets what is not run, and why.

    Raises:
        UserError: a weight or a temperature is given for what no row learns from.
    """
    recipes = [read_recipe(row.recipe) for row in EMODISTILL if row.recipe]
    given = {*plain.loss.taught, *plain.loss.temperatures}
    if unknown := given - {name for one in recipes for name in (*one.lambdas, *one.embeddings)}:
        raise UserError(f"--loss: no row of EmoDistill's tables learns from {min(unknown)}.")
    tables = [open_labels_table(one) for one in (plain.unlabeled, plain.distil_labeled) if one]
    where = " or ".join(table.uri for table in tables) or "a table: give --distil_labeled"
    for labeled, address in sets.items():
        asked: list[LossConfig] = []
        for recipe in sorted(recipes, key=lambda one: _loses(plain.loss, one)):
            loss = _of_recipe(plain.loss, recipe)
            learned = recipe.loss(loss)
            name = run_name(recipe.name, loss, plain.train, distilled=plain.distilled)
            missing = [one for one in learned.taught if not any(table.has(one) for table in tables)]
            if missing:
                left_out.append(f"{name} on {set_name(labeled)}: no teacher {' and no '.join(missing)} in {where}.")
            elif learned not in asked:
                asked.append(learned)
                found = join(output, "runs", labeled, name)
                student = plain if learned.taught or loss.clusters else replace(plain, unlabeled="", distil_labeled="")
                yield replace(student, labeled=address, recipe=recipe.name, loss=loss, output=found)


def _loses(given: LossConfig, recipe: Recipe) -> bool:
    """Whether the weights that are given take a teacher from a recipe."""
    return {*recipe.loss(_of_recipe(given, recipe)).taught} != {*recipe.lambdas, *recipe.embeddings}


def _of_recipe(given: LossConfig, recipe: Recipe) -> LossConfig:
    """Of the weights and temperatures that are given those that a recipe has."""
    has = {"lambdas": recipe.lambdas, "embeddings": recipe.embeddings, "temperatures": recipe.lambdas}
    kept = {of: {name: one for name, one in getattr(given, of).items() if name in names} for of, names in has.items()}
    return replace(given, **kept)  # type: ignore[arg-type]
