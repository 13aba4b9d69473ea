"""The search from its settings to a table, pictures, and a configuration for train_student.py."""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import yaml

from liser_ray.corpora.folds import numbers
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.plots import heat_map, slices_plot
from liser_ray.search.results import SettingResult, ranked, to_table
from liser_ray.search.seeker import Seeker
from liser_ray.search.space import TOGETHER, Axis, Setting, corners, draw, grid, parse_space, setting_key, with_setting
from liser_ray.search.trial import Run, TrialPlan
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, exists, filesystem, read_bytes, replace_parquet, write_bytes
from liser_ray.storage.run_record import plain, refuse_changed_recipe
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.job import Checked, check

log = logging.getLogger(__name__)

SETTINGS_FILE = "settings.yaml"
TABLE_FILE = "trials.parquet"
BEST_FILE = "best.yaml"


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    Attributes:
        output: where everything is.
        axes: what was searched.
        results: of every setting, in the order they were tried.
        pictures: names of the PNGs.
        trained: how many settings this call trained, or went on with.
    """

    output: str
    axes: tuple[Axis, ...]
    results: tuple[SettingResult, ...]
    pictures: tuple[str, ...]
    trained: int

    @property
    def best(self) -> SettingResult:
        """The setting with the highest UAR on the validation speakers of all folds."""
        return ranked(self.results)[0]


def search(config: SearchConfig) -> SearchResult:
    """Try all settings, and write what was found.

    Killed at any point and called again with the same settings, it goes on from the last checkpoints. No student is
    scored on its test speakers: train_student.py does that, once, with the best setting.

    Raises:
        UserError: an option, the labeled set, the labels table, the output or changed settings; or every setting went
            wrong. With what to do.
    """
    output = absolute(config.output)
    axes = parse_space(config.space or config.default_space)
    student, seeds = config.student(), numbers(config.seeds, "--seeds")
    settings = _settings(config, axes, student)
    checked = check(student)
    first, folds = _folds(config, checked)
    check_writable(output)
    run_card = join(output, "run.json")
    recipe = plain(_recipe(config, axes, checked))
    refuse_changed_recipe(run_card, recipe, may_grow="student.data.speech_teachers")
    write_bytes(run_card, json.dumps({**checked.facts, "recipe": recipe}, indent=2).encode() + b"\n")
    write_bytes(join(output, SETTINGS_FILE), to_yaml(replace(config, resume=False)))

    seeker = Seeker(config, axes, checked)
    plan = TrialPlan(student, _runs(first or folds, seeds), bool(config.population), output)
    results = seeker.try_out(plan, settings)
    if first:
        able = [one for one in ranked(results) if one.status == "done"]
        survivors = [one.setting for one in able[: math.ceil(config.survivors * len(able))]]
        log.info("%d of %d settings go on to all folds", len(survivors), len(results))
        on_all = seeker.try_out(replace(plan, runs=_runs(folds, seeds)), survivors)
        final = {setting_key(one.setting): one for one in on_all}
        stopped = [replace(one, status="stopped") if one.status == "done" else one for one in results]
        results = [final.get(setting_key(one.setting), one) for one in stopped]
    if all(one.status == "failed" for one in results):
        raise UserError(f"Every setting went wrong; the first: {results[0].problem}")
    pictures = _write(output, axes, student, results)
    return SearchResult(output, axes, tuple(results), tuple(pictures), len(seeker.trained))


def begun(output: str) -> str:
    """The settings that a search in this folder was begun with, as YAML for ``--config``.

    Raises:
        UserError: none was.
    """
    file = join(absolute(output), SETTINGS_FILE)
    if not exists(file):
        raise UserError(f"{output} holds no search to go on with: give the --output of one, or leave out --resume.")
    return read_bytes(file).decode()


def to_yaml(config: StudentConfig | SearchConfig) -> bytes:
    """A file for ``--config``."""
    return bytes(yaml.safe_dump(plain(asdict(config)), sort_keys=False, allow_unicode=True, encoding="utf-8"))


def _settings(config: SearchConfig, axes: Sequence[Axis], student: StudentConfig) -> list[Setting] | None:
    """What to try; None if it is suggested as the search goes on.

    Raises:
        UserError: a setting that no student can be trained with.
    """
    if config.population:
        for axis in axes:
            if axis.name not in TOGETHER:
                raise UserError(
                    f"Students with different {axis.name} can't be trained together, only with different "
                    f"{', '.join(TOGETHER)}: search without --population, or leave it out."
                )
    settings: list[Setting] | None = None
    if config.method != "tpe":
        settings = grid(axes) if config.method == "grid" else draw(axes, config.samples, config.sampling_seed)
    for setting in corners(axes) if settings is None else settings:
        with_setting(student, setting)
    return settings


def _folds(config: SearchConfig, checked: Checked) -> tuple[list[int], list[int]]:
    """The folds to try all settings on first, none if on all at once; and all folds.

    Raises:
        UserError: a fold that is not among them, or without validation speakers.
    """
    folds = [fold.index for fold in checked.folds]
    first = numbers(config.first_folds, "--first_folds") if config.first_folds else []
    unknown = sorted(set(first) - set(folds))
    if unknown:
        raise UserError(f"--first_folds {config.first_folds}: there is no fold {unknown[0]} among {folds}.")
    for fold in checked.folds:
        if not len(checked.speech.of_speakers(fold.validation)):
            raise UserError(
                f"{checked.speech.name}: fold {fold.index} has no validation speakers, so no setting is better than "
                "another there. Leave it out of --folds."
            )
    return (first, folds) if set(first) < set(folds) else ([], folds)


def _runs(folds: Iterable[int], seeds: Iterable[int]) -> tuple[Run, ...]:
    seeds = tuple(seeds)
    return tuple(Run(fold, seed) for fold in folds for seed in seeds)


def _recipe(config: SearchConfig, axes: Sequence[Axis], checked: Checked) -> dict[str, Any]:
    """What decides on the results; more samples only add to them."""
    names = ("method", "sampling_seed", "folds", "seeds", "first_folds", "survivors", "scheduler", "grace_epochs")
    return {
        "space": [asdict(axis) for axis in axes],
        **{name: getattr(config, name) for name in names},
        "student": checked.facts["recipe"],
    }


def _write(output: str, axes: Sequence[Axis], student: StudentConfig, results: Sequence[SettingResult]) -> list[str]:
    """Table, best configuration and pictures; the names of the pictures."""
    fs, path = filesystem(join(output, TABLE_FILE))
    replace_parquet(path, fs, to_table(axes, results))
    best = ranked(results)[0]
    chosen = replace(with_setting(student, best.setting), output=join(output, "student"))
    write_bytes(join(output, BEST_FILE), to_yaml(chosen))
    pictures = {"slices.png": slices_plot(axes, results)}
    if len(axes) == 2 and all(len(axis.choices) > 1 for axis in axes):
        pictures["heat_map.png"] = heat_map((axes[0], axes[1]), results)
    for name, png in pictures.items():
        write_bytes(join(output, name), png)
    return sorted(pictures)
