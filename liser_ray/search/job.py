"""The search from its settings to a table, pictures, and a configuration for train_student.py."""

import itertools
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any

import yaml

from liser_ray.corpora.folds import numbers
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.plots import heat_map, slices_plot
from liser_ray.search.results import SearchResult, SettingResult, ranked, read_results, to_table
from liser_ray.search.space import (
    Setting,
    Space,
    by_target,
    combinations,
    draw,
    ends_or_choices,
    is_range,
    n_values,
    parse_space,
    setting_key,
    with_setting,
)
from liser_ray.search.trial import TrialPlan, under_way
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, exists, filesystem, read_bytes, replace_parquet, write_bytes
from liser_ray.storage.run_record import plain, refuse_changed_recipe
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.job import check, check_options, make_inputs
from liser_ray.student.training.learned import refuse_unlearnable
from liser_ray.student.training.recipes import read_recipe
from liser_ray.student.training.run import Checked, RunInputs, refuse_without_votes

log = logging.getLogger(__name__)

_SETTINGS_FILE = "settings.yaml"
_MAX_CORNERS = 10_000  # a quarter of a second to look at


def search(config: SearchConfig) -> SearchResult:
    """Try all settings, and write what was found.

    Killed at any point and called again with the same settings, it goes on from the last checkpoints. No student is
    scored on its test speakers: train_student.py does that, once, with the best setting.

    Raises:
        UserError: an option, the labeled set, the labels table, the output or changed settings; or every setting went
            wrong. With what to do.
    """
    config = replace(config, output=absolute(config.output), resume=False)
    space = parse_space(config.space or config.default_space, [*config.learned.lambdas], [*config.learned.embeddings])
    settings, seeds = _settings(config, space), numbers(config.seeds, "--seeds")
    checked = check(config)
    _refuse_untrainable(config, settings or _corners(space), checked)
    if idle := sorted(one for one in checked.recipe.left_out if {*by_target([one], [one])} & space.keys()):
        raise UserError(
            f"{idle[0]} is left out by min_teacher_uar or gate, and has nothing to search: give "
            f"--loss.lambdas.{idle[0]} 0."
        )
    first, others = _folds(config, checked)
    check_writable(config.output)
    run_card = join(config.output, "run.json")
    recipe = plain(_recipe(config, space, checked))
    refuse_changed_recipe(run_card, recipe)
    write_bytes(run_card, json.dumps({**checked.facts, "recipe": recipe}, indent=2).encode() + b"\n")
    write_bytes(join(config.output, _SETTINGS_FILE), to_yaml(config))

    inputs = cache(lambda: make_inputs(config, checked))
    plan = TrialPlan(config, tuple(itertools.product(first, seeds)), join(config.output, "trials"))
    if config.method == "random" and settings and (n_known := len(read_results(plan.folder))) > len(settings):
        raise UserError(f"{config.output} has {n_known} settings already, which all count: give --samples {n_known}.")
    results, trained = _try_out(plan, space, settings, inputs)
    if others:
        able = [one.setting for one in ranked(results) if one.status == "done"]
        survivors = able[: math.ceil(config.survivors * len(able))]
        log.info("%d of %d settings go on to all folds", len(survivors), len(results))
        folder = join(config.output, "trials_of_survivors")
        plan = TrialPlan(config, tuple(itertools.product(others, seeds)), folder)
        more, trained_more = _try_out(plan, space, survivors, inputs)
        results, trained = _on_all_folds(results, more), trained + trained_more
        if survivors and all(one.status == "failed" for one in more):
            raise UserError(f"No setting was trained on all folds; the first that went wrong: {more[0].problem}")
    if all(one.status == "failed" for one in results):
        raise UserError(f"Every setting went wrong; the first: {results[0].problem}")
    return SearchResult(config.output, tuple(results), _write(config, space, results), trained)


def settings_of(output: str) -> str:
    """The settings of the search in this folder, as YAML for ``--config``; UserError if there is none."""
    file = join(absolute(output), _SETTINGS_FILE)
    if not exists(file):
        raise UserError(f"{output} holds no search to go on with: give the --output of one, or leave out --resume.")
    return read_bytes(file).decode()


def to_yaml(config: StudentConfig) -> bytes:
    """A file for ``--config``."""
    return bytes(yaml.safe_dump(plain(asdict(config)), sort_keys=False, allow_unicode=True, encoding="utf-8"))


def _settings(config: SearchConfig, space: Space) -> list[Setting] | None:
    """What to try, refused if no student can be trained with it; None if it is suggested as the search goes on."""
    if config.method == "grid" and (ranges := [name for name, values in space.items() if is_range(values)]):
        raise UserError(
            f"{ranges[0]} is a range, of which a grid can't try all: give values, as {ranges[0]}=0.1,1, or --method "
            "random or tpe."
        )
    if config.method == "random":
        settings = draw(space, config.samples, config.sampling_seed)
    else:
        settings = _corners(space) if config.method == "tpe" else list(combinations(space))
    recipe = read_recipe(config.recipe)
    for setting in settings:
        check_options(with_setting(config, setting), recipe, recipe.loss(config.loss).taught)
    return settings if config.method != "tpe" else None


def _corners(space: Space) -> list[Setting]:
    return list(itertools.islice(combinations(space), _MAX_CORNERS))


def _refuse_untrainable(config: SearchConfig, settings: Sequence[Setting], checked: Checked) -> None:
    """Refuse what a setting would learn and can't: `check` has seen votes and heads as given, not as searched."""
    for one in (with_setting(config, setting) for setting in settings):
        refuse_without_votes(one, checked.speech)
        for targets in checked.targets.values():
            refuse_unlearnable(targets, checked.recipe.loss(one.loss), checked.speech.labels)


def _folds(config: SearchConfig, checked: Checked) -> tuple[list[int], list[int]]:
    """The folds to try all settings on, and those to try the survivors on."""
    if len(checked.speech.labels) < 2:
        raise UserError(f"{checked.speech.name} has no labels, and so no UAR to search by.")
    folds = list(checked.folds)
    first = numbers(config.first_folds, "--first_folds") if config.first_folds else folds
    if unknown := sorted(set(first) - set(folds)):
        raise UserError(f"--first_folds {config.first_folds}: there is no fold {unknown[0]} among {folds}.")
    for fold in checked.folds.values():
        if not len(checked.speech.of_speakers(fold.validation)):
            raise UserError(
                f"{checked.speech.name}: fold {fold.index} has no validation speakers, so no setting is better than "
                "another there. Leave it out of --folds."
            )
    return first, [fold for fold in folds if fold not in first]


def _recipe(config: SearchConfig, space: Space, checked: Checked) -> dict[str, Any]:
    """What decides on the results; more samples only add to them."""
    names = ("method", "sampling_seed", "folds", "seeds", "first_folds", "survivors", "scheduler", "grace_epochs")
    return {
        "space": {name: str(values) for name, values in space.items()},
        **{name: getattr(config, name) for name in names},
        "student": checked.facts["recipe"],
    }


def _try_out(
    plan: TrialPlan, space: Space, settings: Sequence[Setting] | None, inputs: Callable[[], RunInputs]
) -> tuple[list[SettingResult], int]:
    """Results of some settings, in their order, or with None of all that are suggested; and how many are new."""
    found = read_results(plan.folder)
    wanted = {setting_key(one): one for one in settings or ()}
    if settings is not None:
        found = {key: found[key] for key in wanted if key in found}
    n_known, n_wanted = len(found), len(wanted)
    if settings is None:
        # There may be fewer, and what is suggested again is none more.
        n_wanted = int(min(plan.config.samples, math.prod(map(n_values, space.values()))))
    if n_known < n_wanted:
        from liser_ray.search.tuning import run_trials  # seconds to import; not for a search that is done

        if n_known:
            log.info("%d of %d settings were finished before", n_known, n_wanted)
        first = under_way(plan) if settings is None else [one for key, one in wanted.items() if key not in found]
        run_trials(plan, space, first, n_wanted - n_known, found, inputs())
    return [found[key] for key in wanted or found], len(found) - n_known


def _on_all_folds(on_first: Sequence[SettingResult], on_others: Sequence[SettingResult]) -> list[SettingResult]:
    """The results of all settings, of the survivors on all folds; those of the others count as stopped."""
    found = {
        setting_key(one.setting): replace(one, status="stopped") if one.status == "done" else one for one in on_first
    }
    for one in on_others:
        key = setting_key(one.setting)
        found[key] = replace(one, runs=sorted(found[key].runs + one.runs, key=lambda run: run["fold"]))
    return list(found.values())


def _write(config: SearchConfig, space: Space, results: Sequence[SettingResult]) -> tuple[str, ...]:
    """Table, best configuration and pictures; the names of the pictures."""
    fs, path = filesystem(join(config.output, "trials.parquet"))
    replace_parquet(path, fs, to_table(results))
    best = with_setting(config, ranked(results)[0].setting)
    student = StudentConfig(**{one.name: getattr(best, one.name) for one in fields(StudentConfig)})
    write_bytes(join(config.output, "best.yaml"), to_yaml(replace(student, output=join(config.output, "student"))))
    pictures = {"slices.png": slices_plot(space, results)}
    if len(space) == 2 and all(not is_range(values) and len(ends_or_choices(values)) > 1 for values in space.values()):
        pictures["heat_map.png"] = heat_map(space, results)
    for name, png in pictures.items():
        write_bytes(join(config.output, name), png)
    return tuple(sorted(pictures))
