"""The job from its settings to tables and pictures."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import yaml

from liser_ray.corpora import ravdess
from liser_ray.corpora.folds import choose_folds, folds_of, numbers
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.reproduction.config import ReproductionConfig
from liser_ray.reproduction.emodistill import emodistill_students
from liser_ray.results import tables
from liser_ray.results.paper import BASE, CONFIGURATIONS, FIGURE_2, set_name, share_of
from liser_ray.results.plots import confusion_plot, differences_plot, figure_2, speakers_plot
from liser_ray.results.records import RECORDS_FOLDER, Record, read_records, record_file, record_to_json
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, exists, read_bytes, write_bytes
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.job import choose_targets, train_students
from liser_ray.student.training.recipes import bases_of, read_recipe, run_name
from liser_ray.student.training.reliability import NoTeacherLeftError
from liser_ray.teachers.targets import more_labels

log = logging.getLogger(__name__)

_IMAGES = "docs/images"  # below the README's folder
_TESTED, _VALIDATING = (frozenset[str]().union(*parts) for parts in zip(*ravdess.CORPUS.folds, strict=True))


@dataclass(frozen=True)
class ReproductionResult:
    """What a run of the job made of all records, by name, and what was not run, and why."""

    output: str
    records: tuple[Record, ...]
    tables: dict[str, str]  # Markdown
    pictures: dict[str, bytes]  # PNGs
    left_out: tuple[str, ...]


def reproduce(config: ReproductionConfig) -> ReproductionResult:
    """Train what is not trained yet, and write tables and pictures of all records.

    Raises:
        UserError: as in `train_students`; or there is nothing to make tables of.
    """
    output = absolute(config.output)
    check_writable(output)
    if missing := [one for one in config.readme if not Path(one).is_file()]:
        raise UserError(f"--readme {missing[0]}: there is no such file.")
    left_out: list[str] = []
    if not config.records:
        _train(config, output, left_out)
    found = read_records(config.records or join(output, RECORDS_FOLDER))
    records = [one for one in found if len(one.labels) > 1]  # of attributes alone there is no UAR
    if not records:
        raise UserError("All records are of attributes alone, and the tables of labels.")
    result = ReproductionResult(output, tuple(records), make_tables(records), make_pictures(records), tuple(left_out))
    _write(result, config.readme)
    return result


def make_tables(records: Sequence[Record]) -> dict[str, str]:
    """All tables that can be made of some records, Markdown by name: "table-2", "emodistill", "ravdess-recalls" ..."""
    recipes = {record.recipe for record in records}
    made = {
        "table-2": tables.table_2(records),
        "table-3": tables.table_3(records),
        "emodistill": tables.emodistill_table(records),
        "results": tables.results_table(records),
        "sexes": tables.sexes_table(records),
    }
    sets = tables.by_set(records)
    if ravdess.CORPUS.name in sets:
        made["others"] = tables.others_table(records, _TESTED - _VALIDATING)
    if recipes != {BASE}:
        made["differences"] = tables.differences_table(records)
    extended = {recipe: bases_of(recipe) for recipe in recipes}
    for base in sorted(recipes & {base for of in extended.values() for base in of}):
        ours = [one for one in records if base in (one.recipe, *extended[one.recipe])]
        made[f"{base}-differences"] = tables.differences_table(ours, base)
    for labeled in sets:
        made[f"{labeled}-recalls"] = tables.recalls_table([one for one in records if one.labeled == labeled])
    return made


def make_pictures(records: Sequence[Record]) -> dict[str, bytes]:
    """All pictures that can be made of some records, PNGs by name: "ravdess-speakers", "ravdess-confusion" ..."""
    pictures: dict[str, bytes] = {}
    for labeled, by_recipe in tables.by_set(records).items():
        shown = by_recipe.get("conf-vid-sp-dstl") or by_recipe.get(BASE) or next(iter(by_recipe.values()))
        pictures[f"{labeled}-confusion"] = confusion_plot(shown)
        pictures[f"{labeled}-speakers"] = speakers_plot(shown)
        if BASE in by_recipe and len(by_recipe) > 1:
            pictures[f"{labeled}-differences"] = differences_plot(by_recipe)
        fewer = {share_of(recipe)[0] for recipe in by_recipe if share_of(recipe)[1] < 100}
        if fewer:
            runs = [one for recipe, runs in by_recipe.items() if share_of(recipe)[0] in fewer for one in runs]
            pictures[f"{labeled}-figure-2"] = figure_2(runs)
    return pictures


def _train(config: ReproductionConfig, output: str, left_out: list[str]) -> None:
    """Train what is asked for and write its records; what can't be run is noted."""
    if not config.labeled:
        raise UserError("Give --labeled ravdess:FOLDER and cremad:FOLDER, one of them, or --records FOLDER.")
    sets = {read_labeled_set(address).name: address for address in config.labeled}
    if len(sets) < len(config.labeled):
        raise UserError(f"--labeled: two sets have the same name, of {', '.join(sets)}. Rename one's file or folder.")
    plain = StudentConfig(**{one.name: getattr(config, one.name) for one in fields(StudentConfig)} | {"labeled": ""})
    if config.paper == "emodistill":
        students = list(emodistill_students(plain, sets, output, left_out))
    else:
        students = list(_students(config, plain, sets, output, left_out))
        _check_teachers(students)
    for student in students:
        log.info("%s", student.output)
        try:
            trained = train_students(student).records
        except NoTeacherLeftError as error:
            left_out.append(f"{student.output}: {error}")
            continue
        for record in trained:
            write_bytes(join(output, RECORDS_FOLDER, record_file(record)), record_to_json(record).encode())
    if not exists(join(output, RECORDS_FOLDER)):
        raise UserError("Nothing to run: " + " ".join(left_out))


def _students(
    config: ReproductionConfig, plain: StudentConfig, sets: Mapping[str, str], output: str, left_out: list[str]
) -> Iterator[StudentConfig]:
    """Settings of every training of LiSER's tables that is asked for; what can't be run is noted."""
    shares = numbers(config.shares, "--shares")
    if not all(1 <= share <= 99 for share in shares):
        raise UserError(f"--shares {config.shares}: give percents of the labels from 1 to 99.")
    if strange := config.unlabeled_at.keys() - {*map(str, shares)}:
        raise UserError(f"--unlabeled_at.{min(strange)}: --shares has {config.shares}. Give tables for these alone.")
    if unknown := config.loss.lambdas.keys() - {name for one in CONFIGURATIONS for name in read_recipe(one).lambdas}:
        raise UserError(f"--loss.lambdas.{min(unknown)}: no configuration of the paper learns from it.")
    wanted: list[tuple[str, StudentConfig]] = []  # with the set's name
    if "table-2" in config.parts:
        wanted += [(name, replace(plain, recipe=recipe)) for name in sets for recipe in CONFIGURATIONS]
    if "table-3" in config.parts:
        cross_entropy, two_stage = replace(config.loss, distillation="ce"), replace(config.train, two_stage=True)
        for recipe in ("vid-dstl", "sp-dstl"):
            wanted += [
                ("ravdess", replace(plain, recipe=recipe, loss=cross_entropy)),
                ("ravdess", replace(plain, recipe=recipe, train=two_stage, distil_labeled="")),
            ]
    if "figure-2" in config.parts:
        wanted += [
            ("cremad", replace(_at_share(plain, config, share), recipe=recipe))
            for share in (*shares, 100)
            for recipe in ("no-dstl", "vid-sp-dstl")
        ]
    for part, labeled in (("table-3", "ravdess"), ("figure-2", "cremad")):
        if part in config.parts and labeled not in sets:
            left_out.append(f"{part}: needs --labeled {labeled}:FOLDER.")
    asked = set()
    for labeled, student in wanted:
        read = read_recipe(student.recipe)
        own = {name: value for name, value in config.loss.lambdas.items() if name in read.lambdas}
        confidence = student.loss.confidence if read.confidence != "none" else "recipe"
        student = replace(student, loss=replace(student.loss, lambdas=own, confidence=confidence))
        name = run_name(student.recipe, student.loss, student.train, distilled=student.distilled)
        if labeled not in sets or (labeled, name) in asked:  # all the labels are in Table 2 as well
            continue
        asked.add((labeled, name))
        if student.recipe != BASE and not student.unlabeled:
            share = share_of(name)[1]
            option = "--unlabeled" if share == 100 else f"--unlabeled_at.{share}"
            left_out.append(f"{name} on {set_name(labeled)}: needs {option}.")
            continue
        if student.recipe != BASE and config.searches:
            found = _found_lambdas(join(config.searches, labeled, student.recipe))
            student = replace(student, loss=replace(student.loss, lambdas=found))
            trained = run_name(student.recipe, student.loss, student.train, distilled=student.distilled)
            if trained != name:
                left_out.append(f"{name} on {set_name(labeled)}: its search found a weight of 0, it is {trained}.")
        if student.recipe == BASE and not student.loss.clusters:
            student = replace(student, unlabeled="", distil_labeled="")  # which it would not read
        yield replace(student, labeled=sets[labeled], output=join(output, "runs", labeled, name))


def _at_share(plain: StudentConfig, config: ReproductionConfig, share: int) -> StudentConfig:
    """A student of a share of the labels, in percent, and of teachers who have heard no more of them."""
    table = config.unlabeled if share == 100 else config.unlabeled_at.get(str(share), "")
    return replace(plain, unlabeled=table, train=replace(plain.train, labeled_fraction=share / 100))


def _found_lambdas(search: str) -> dict[str, float]:
    """λ of the best setting of a search."""
    file = join(absolute(search), "best.yaml")
    if not exists(file):
        raise UserError(f"--searches: there is no {file}. Make it by tune_lambdas.py --output {search}.")
    found: dict[str, float] = yaml.safe_load(read_bytes(file))["loss"]["lambdas"]
    return found


def _check_teachers(students: Sequence[StudentConfig]) -> None:
    """Refuse a labels table without a teacher for each fold of each set now, not when the second set's turn comes.

    And one whose teachers have heard more labels than the students that learn from it.
    """
    wanted: dict[tuple[str, str, float], dict[str, StudentConfig]] = {}  # by set, table, share of the labels; by target
    for student in students:
        for name in read_recipe(student.recipe).loss(student.loss).lambdas:
            assert isinstance(student.labeled, str)  # as `_students` has it
            of = student.labeled, student.unlabeled, student.train.labeled_fraction
            wanted.setdefault(of, {})[name] = student
    for (address, uri, fraction), by_name in wanted.items():
        student, labeled, table = next(iter(by_name.values())), read_labeled_set(address), open_labels_table(uri)
        for fold in choose_folds(student.folds, folds_of(labeled)):
            for target in choose_targets(table, by_name, labeled, fold, student.trusted).values():
                if found := more_labels(target, labeled.name, fraction):
                    raise UserError(found)


def _write(result: ReproductionResult, readme: Sequence[str]) -> None:
    lines = ["# The papers' tables, run again", "", f"LiSER's Figure 2: {FIGURE_2}", ""]
    for name, table in result.tables.items():
        lines += [f"## {name}", "", table, ""]
    for name, png in result.pictures.items():
        write_bytes(join(result.output, f"{name}.png"), png)
        lines += [f"![{name}]({name}.png)", ""]
    write_bytes(join(result.output, "tables.md"), "\n".join(lines).encode())
    for path in map(Path, readme):
        text = path.read_text()
        marked = [name for name in result.tables if f"<!-- results:{name} -->" in text]
        if not marked:
            raise UserError(f"{path} has no marked place such as <!-- results:table-2 --> <!-- /results:table-2 -->.")
        for name in marked:
            text = tables.write_between_markers(text, name, result.tables[name])
        path.write_text(text)
    if readme:
        for name, png in result.pictures.items():
            write_bytes(str(Path(readme[0]).absolute().parent / _IMAGES / f"{name}.png"), png)
