"""The job from its settings to a student per fold and seed, and a record per seed and labeled set."""

import hashlib
import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, cast

import numpy as np

from liser_ray.corpora.folds import Fold, choose_folds, everybody, folds_of, numbers
from liser_ray.corpora.joined import read_labeled_sets
from liser_ray.corpora.labeled import FORMS
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech, training_recordings
from liser_ray.corpora.utterance import EVERYBODY, UNLABELED, LabeledSet, Part
from liser_ray.results.records import RECORDS_FOLDER, FoldResult, Record, mean_concordances, record_file, record_to_json
from liser_ray.results.scores import interval, pooled
from liser_ray.runtime.display import Counting
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, write_bytes
from liser_ray.storage.run_record import package_versions, plain, refuse_changed_recipe
from liser_ray.student.attributes import attribute_scales
from liser_ray.student.config import NetworkConfig
from liser_ray.student.data.alignment import mean_of_table
from liser_ray.student.data.embeddings import table_embeddings
from liser_ray.student.data.high_low import splits_of
from liser_ray.student.data.labeled_targets import matched_rows, recording_windows
from liser_ray.student.data.labels_table import (
    LabelsTable,
    choose_target,
    open_labels_table,
    refuse_two_teachers,
)
from liser_ray.student.data.mels import BYTES_PER_S, at_speeds, compute_log_mels, elsewhere, padded_frames
from liser_ray.student.data.own_rows import OwnRows, find_own_rows
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows, UnlabeledRecordings, load_unlabeled
from liser_ray.student.training.config import RunJob, StudentConfig
from liser_ray.student.training.curves import check_log
from liser_ray.student.training.learned import aligned_targets, learned_targets, refuse_unlearnable
from liser_ray.student.training.recipes import Recipe, read_recipe, run_name
from liser_ray.student.training.reliability import judge_teachers
from liser_ray.student.training.run import (
    Checked,
    LabeledTargets,
    RunInputs,
    add_to_card,
    calibrate,
    read_card,
    refuse_without_votes,
    sets_facts,
    train_run,
    trusted,
)
from liser_ray.student.training.task import epoch_plans
from liser_ray.teachers.targets import Target, more_labels
from liser_ray.training.facts import git_commit
from liser_ray.training.fit import ProcessGroup
from liser_ray.training.job import train_runs

log = logging.getLogger(__name__)

_FEWEST_WITH_ATTRIBUTES = 4  # of a batch in the mean
_PACKAGES = ("ray", "torch", "torchaudio", "numpy")


@dataclass(frozen=True)
class StudentResult:
    """Where the students of a recipe with its variants are, a record per seed and labeled set, and what was trained."""

    output: str
    name: str
    records: tuple[Record, ...]
    trained: tuple[str, ...]


def train_students(config: StudentConfig) -> StudentResult:
    """Train the students of the wanted folds and seeds that are not there yet, and score them on their test speakers.

    All that can be wrong with the settings is found before any work starts. Killed at any point and called again with
    the same settings, it goes on from the last checkpoint of each run.

    Raises:
        UserError: an option, the labeled set, the labels table, the output or changed settings; with what to do.
    """
    seeds = numbers(config.seeds, "--seeds")
    output = absolute(config.output)
    checked = check(config)
    check_writable(output)
    run_card = join(output, "run.json")
    refuse_changed_recipe(run_card, checked.facts["recipe"])
    write_bytes(run_card, json.dumps(checked.facts, indent=2).encode() + b"\n")

    def run(seed: int, fold: int) -> RunJob:
        job = RunJob(config, fold, seed, "")
        return replace(job, output=join(output, job.name))

    jobs = [run(seed, fold) for seed in seeds for fold in checked.folds]
    missing = [job for job in jobs if read_card(job.output) is None]
    if missing:
        workers = replace(config, cpus_per_worker=config.cpus_per_worker or 1)
        inputs = make_inputs(config, checked)
        n_steps = sum(_n_steps(job, inputs) for job in missing)
        done = [job.name for job in jobs if job not in missing]
        train_runs(train_run, missing, inputs, workers, join(output, "training"), n_steps, done, gpu_share=0.25)
    records: list[Record] = []
    whole: dict[str, list[Record]] = {}  # of all folds, by set
    for seed in seeds:
        calibrate([run(seed, fold).output for fold in (*checked.fold_numbers, EVERYBODY)])
        read = (read_card(run(seed, fold).output) for fold in checked.fold_numbers)
        cards = [card for card in read if card is not None]
        for record in _records(checked, seed, cards):
            write_bytes(join(output, RECORDS_FOLDER, record_file(record)), record_to_json(record).encode())
            records.append(record)
            if len(cards) == len(checked.fold_numbers):
                whole.setdefault(record.labeled, []).append(record)
    if whole:
        found = {labeled: _cross_validated(of_set) for labeled, of_set in whole.items()}
        facts = (
            {"cross_validated_on": found} if checked.speech.joined else {"cross_validated": found[checked.speech.name]}
        )
        for seed in seeds:
            add_to_card(run(seed, EVERYBODY).output, facts)
    return StudentResult(output, checked.name, tuple(records), tuple(job.name for job in missing))


def check(config: StudentConfig) -> Checked:
    """Read all that is quickly read; a `UserError` says what can't be trained, and what to do."""
    recipe = read_recipe(config.recipe)
    names = recipe.loss(config.loss).taught
    _refuse_papers_network(config, recipe)
    check_options(config, recipe, names)
    check_log(config.log)
    labeled = read_labeled_sets(config.labeled, config.label_map, [*recipe.loss(config.loss).attributes])
    if labeled.labels == (UNLABELED,):
        log.warning(
            "%s has no column label or emotion: attributes alone are learned, and the student names no emotion.",
            labeled.name,
        )
    every_fold = folds_of(labeled)
    folds = [everybody(every_fold)] if config.folds == "none" else choose_folds(config.folds, every_fold)
    also_none = [*every_fold, *(fold for fold in folds if fold.index == EVERYBODY)]
    table, of_labeled = (
        open_labels_table(one) if wanted and one else None
        for one, wanted in ((config.unlabeled, names or config.loss.clusters), (config.distil_labeled, names))
    )
    if table is not None:
        _check_held(config, table)
    there = [name for name in names if table and of_labeled and of_labeled.has(name)] or names
    known, also = (
        {} if one is None else _targets_of_folds(config, one, of_it, labeled, also_none, folds)
        for one, of_it in ((table, names), (of_labeled, there))
    )
    known = known or also
    for number in known.keys() & also.keys():
        refuse_two_teachers(known[number], also[number])
    weighted = recipe.loss(config.loss).confidence != "none"
    recipe = replace(recipe, left_out=judge_teachers(known, config.min_teacher_uar, weighted, config.gate))
    known = {number: {name: of[name] for name in of if name not in recipe.left_out} for number, of in known.items()}
    loss = recipe.loss(config.loss)
    if not names and (idle := config.distil_labeled or (not loss.clusters and config.unlabeled)):
        log.warning("%s is not read: %s learns from labels alone.", idle, config.recipe)
    _warn_of_more_labels([*known.values(), *also.values()], labeled.name, config.train.labeled_fraction)
    of_folds = {number: of for number, of in known.items() if number != EVERYBODY}
    for of in (*known.values(), *also.values()):
        refuse_unlearnable(of, loss, labeled.labels)
    if config.train.align and not any(
        aligned_targets(learned_targets(of, loss), labeled.labels) for of in known.values()
    ):
        raise UserError(f"align: no teacher that is learned from knows the labels of {labeled.name}: leave it out.")
    speech = load_labeled_speech(labeled)
    refuse_without_votes(config, speech)
    if speech.votes is not None:
        log.info(
            "%s: there are votes for %d of %d recordings", speech.name, speech.votes.any(axis=1).sum(), len(speech)
        )
    labeled_targets: LabeledTargets | None = None
    if of_labeled is not None:
        wanted = {fold.index: also[fold.index] for fold in folds}
        labeled_targets = LabeledTargets(of_labeled, matched_rows(speech, of_labeled), wanted)
    own_rows = None if table is None else _own_rows(config, table, speech, folds)
    if loss.attributes and table is not None:
        _refuse_few_attributes(config, len(speech), table.n_rows)
    for fold in folds:
        train = training_recordings(speech, fold, config.train.labeled_fraction, config.train.labeled_by)
        attribute_scales(speech.attributes, loss.attributes, train)  # refuses those that are not there
        if len(train) < loss.clusters:
            raise UserError(
                f"loss.clusters is {loss.clusters}, and fold {fold.index} learns from {len(train)} recordings."
            )
        for part in speech.parts:
            tested = part.own_names(fold.test)
            if tested and not len(speech.of_speakers(tested)):
                raise UserError(f"{part.name}: fold {fold.index} has no usable recording to test on.")
    name = run_name(
        config.recipe, config.loss, config.train, recipe.left_out, config.distilled, speech.name, config.network
    )
    return Checked(
        recipe=recipe,
        name=name,
        speech=speech,
        fold_numbers=tuple(fold.index for fold in every_fold),
        folds={fold.index: fold for fold in folds},
        table=table,
        own_rows=own_rows,
        labeled_targets=labeled_targets,
        targets={fold.index: known.get(fold.index, {}) for fold in folds},
        facts=_facts(config, recipe, name, speech, every_fold, table, labeled_targets, of_folds),
    )


def _cross_validated(records: Sequence[Record]) -> dict[str, Any]:
    """Scores of a recipe's folds, for the card of a student that nobody is left to score."""
    counts = {"speakers": len(records[0].confusions), "seeds": len(records)}
    if len(records[0].labels) < 2:
        found_ccc = mean_concordances(records)
        return counts | {"ccc": {name: round(one, 4) for name, one in found_ccc.items() if math.isfinite(one)}}
    found = interval(records, "uar")
    return counts | {
        "uar": round(found.value, 4),
        "uar_interval": None if math.isnan(found.low) else [round(found.low, 4), round(found.high, 4)],
        "interval_over": found.over,
        "war": round(pooled(records, "war"), 4),
    }


def _targets_of_folds(
    config: StudentConfig,
    table: LabelsTable,
    names: Collection[str],
    labeled: LabeledSet,
    folds: Collection[Fold],
    wanted: Collection[Fold],
) -> dict[int, dict[str, Target]]:
    """What students learn from, by fold and name, of all folds: an output's recipe is the same whichever are wanted."""
    found = {}
    for fold in folds:
        try:
            found[fold.index] = choose_targets(table, names, labeled, fold, config.trusted)
        except UserError:
            if fold in wanted:
                raise
    return found


def make_inputs(config: StudentConfig, checked: Checked) -> RunInputs:
    """Compute the spectrograms of all runs, those of the labels table too if they fit the memory."""
    device, normalisation = ProcessGroup.alone().device, config.network.normalisation
    speech, table, augment = checked.speech, checked.table, config.train.augment
    n_samples = np.diff(speech.ends, prepend=0)
    speeds = (*augment.speeds, *[1.0] * augment.copies)
    n_frames = sum(int(padded_frames(np.ceil(n_samples / speed).astype(np.int64)).sum()) for speed in speeds)
    recorded = [speech.waveform(i) for i in range(len(speech))]
    waveforms = at_speeds(recorded, augment.speeds)
    if augment.copies:
        waveforms = chain(waveforms, elsewhere(recorded, augment.copies))
    recordings: UnlabeledRecordings | None = None
    embeddings: dict[str, np.ndarray] = {}
    means: dict[str, np.ndarray] = {}
    settings = _segment_settings(config, checked)
    if table is not None:
        wanted = _learned(config, checked, checked.targets)
        settings = replace(settings, splits=splits_of(table, wanted, config.loss.scalars))
        if _is_held(config, table):
            with Counting("rows of labels read", table.n_rows) as counting:
                recordings = load_unlabeled(table, wanted, settings, device, counting.show)
        else:
            log.info("%s: %s rows are streamed", table.uri, f"{table.n_rows:,}")
            vectors = (one for one in wanted if one.kind == "embedding")
            embeddings = {one.name: table_embeddings(table, one, settings) for one in vectors}
            alike = aligned_targets({one.name: one for one in wanted}, speech.labels) if config.train.align else {}
            means = {name: mean_of_table(table, one, settings) for name, one in alike.items()}
    mels = compute_log_mels(waveforms, n_frames, normalisation, device)
    windows: dict[str, TargetWindows] = {}
    if (of_labeled := checked.labeled_targets) is not None:
        told = _learned(config, checked, of_labeled.targets)
        of_its_own = replace(settings, splits=splits_of(of_labeled.table, told, config.loss.scalars))
        windows = recording_windows(of_labeled.table, of_labeled.matches, len(speech), told, of_its_own)
    return RunInputs(
        **vars(checked),
        mels=mels,
        recordings=recordings,
        labeled_windows=windows,
        embeddings=embeddings,
        means=means,
        settings=settings,
    )


def _segment_settings(config: StudentConfig, checked: Checked) -> SegmentSettings:
    """How segments are made, but for where scalars are split: each table has its own speakers and recordings."""
    of_labeled = checked.labeled_targets.table.scales if checked.labeled_targets else {}
    scales = {**of_labeled, **(checked.table.scales if checked.table else {})}  # a head has one scale
    return SegmentSettings(checked.speech.labels, config.network.normalisation, config.min_valid, scales)


def _learned(
    config: StudentConfig, checked: Checked, of_folds: Mapping[int, Mapping[str, Target]]
) -> Collection[Target]:
    """All that the students of any fold learn of their targets, each once."""
    loss = checked.recipe.loss(config.loss)
    return {one.name: one for of in of_folds.values() for one in learned_targets(of, loss).values()}.values()


def _warn_of_more_labels(of_folds: Iterable[Mapping[str, Target]], labeled: str, fraction: float) -> None:
    for target in {one.name: one for of in of_folds for one in of.values()}.values():
        if found := more_labels(target, labeled, fraction):
            log.warning("%s", found)


def _refuse_few_attributes(config: StudentConfig, n_labeled: int, n_unlabeled: int) -> None:
    """Batches of which hardly any has recordings whose attributes can agree."""
    train = config.train
    of_batch = train.batch_size * n_labeled / (n_labeled + n_unlabeled)
    if n_unlabeled and not train.labeled_per_batch and not train.two_stage and of_batch < _FEWEST_WITH_ATTRIBUTES:
        raise UserError(
            f"Of {train.batch_size} recordings in a batch {of_batch:.1f} would be labeled, and it takes several to say "
            f"how attributes agree: give --train.labeled_per_batch {train.batch_size // 2}."
        )


def _is_held(config: StudentConfig, table: LabelsTable) -> bool:
    return table.seconds * BYTES_PER_S <= config.memory_gb * 1e9


def _own_rows(
    config: StudentConfig, table: LabelsTable, speech: LabeledSpeech, folds: Sequence[Fold]
) -> OwnRows | None:
    """Which rows of the table are recordings of the labeled set; None: no one is.

    Raises:
        UserError: some are of speakers on whom a student is scored, and the table is not held in memory; or all are.
    """
    own = find_own_rows(speech, table)
    if not own.known.any():
        return None
    n_scored = max(int(own.of_speakers(fold.test | fold.validation).sum()) for fold in folds)
    if n_scored == table.n_rows:
        raise UserError(f"All rows of {table.uri} are recordings of speakers on whom a student would be scored.")
    if n_scored and not _is_held(config, table):
        raise UserError(
            f"{n_scored:,} rows of {table.uri} are recordings of speakers on whom a student would be scored. Give "
            f"--memory_gb {_needed_gb(table)} or more, and they are left out; or a table that has none of them."
        )
    log.info(
        "%s: %s rows are recordings of %s; those of speakers on whom a student is scored are not heard (up to %s)",
        *(table.uri, f"{int(own.known.sum()):,}", speech.name, f"{n_scored:,}"),
    )
    return own


def _check_held(config: StudentConfig, table: LabelsTable) -> None:
    needs = "placebo" if config.train.placebo else "loss.clusters" * bool(config.loss.clusters)
    if needs and not _is_held(config, table):
        raise UserError(
            f"{table.uri} is too large to be held in memory, which {needs} needs: give --memory_gb "
            f"{_needed_gb(table)} or more."
        )


def _needed_gb(table: LabelsTable) -> int:
    return math.ceil(table.seconds * BYTES_PER_S / 1e9)


def _n_steps(job: RunJob, inputs: RunInputs) -> int:
    train = job.config.train
    fold = inputs.folds[job.fold]
    n_labeled = len(training_recordings(inputs.speech, fold, train.labeled_fraction, train.labeled_by))
    plans = epoch_plans(train, n_labeled, len(inputs.unlabeled_rows(job.fold)))
    return train.epochs * sum(plan.n_steps for plan in plans)


def choose_targets(
    table: LabelsTable, names: Collection[str], labeled: LabeledSet, fold: Fold, trusted: Collection[str]
) -> dict[str, Target]:
    """What a student of a fold learns from, by name; errors as of `choose_target`."""
    return {name: choose_target(table, name, labeled.name, labeled.labels_by_set, fold, trusted) for name in names}


def _refuse_papers_network(config: StudentConfig, recipe: Recipe) -> None:
    if any(name.startswith("network.") for name in recipe.settings) and config.network == NetworkConfig():
        raise UserError(
            f"{recipe.name} with the paper's network: a recipe's settings come with the command line. From Python, "
            'parse_settings(StudentConfig, "", ["--recipe", "strong", ...], defaults=defaults_of) gives them.'
        )


def check_options(config: StudentConfig, recipe: Recipe, names: Collection[str]) -> None:
    """Refuse, with a `UserError`, options that do not go together; ``names`` are of the targets that are learned."""
    if not config.labeled:
        raise UserError(f"No labeled speech: give --labeled {FORMS}.")
    if names and not config.unlabeled and not config.distil_labeled:
        raise UserError(
            f"{recipe.name} learns from teachers: give the output of label_corpus.py as --unlabeled (or of the labeled "
            "recordings as --distil_labeled), or --recipe strong, which learns from labels alone."
        )
    world = [name for name in ("pieces", "noise", "babble", "narrow") if getattr(config.train.augment, name)]
    if world and config.network.normalisation != "speech":
        raise UserError(f"augment.{world[0]} changes powers as they are: it needs --network.normalisation speech.")
    if config.train.align and not config.unlabeled:
        raise UserError("align is of what teachers say of unlabeled recordings: give --unlabeled, or leave it out.")
    for option in ("two_stage", "placebo", "align"):
        if getattr(config.train, option) and not names:
            raise UserError(f"{option} is of distillation: give a recipe with a teacher, such as --recipe sp-dstl.")


def _facts(
    config: StudentConfig,
    recipe: Recipe,
    name: str,
    speech: LabeledSpeech,
    every_fold: Sequence[Fold],
    table: LabelsTable | None,
    labeled_targets: LabeledTargets | None,
    targets: dict[int, dict[str, Target]],
) -> dict[str, Any]:
    """What decides on the students ("recipe"), and what else one should know of them."""
    parts = [[fold.index, *(sorted(of) for of in (fold.validation, fold.test))] for fold in every_fold]
    data: dict[str, Any] = {
        "labeled": {
            "name": speech.name,
            "recordings": len(speech),
            "sha256": speech.sha256,
            "labels": speech.labels,
            "folds": hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        }
    }
    if speech.votes is not None and (config.train.truth != "label" or config.loss.penalty):
        data["labeled"]["votes"] = hashlib.sha256(speech.votes.tobytes()).hexdigest()
    for attribute in recipe.loss(config.loss).attributes:
        sha256 = hashlib.sha256(speech.attributes[attribute].tobytes()).hexdigest()
        data["labeled"].setdefault("attributes", {})[attribute] = sha256
    if speech.joined:
        data["labeled"]["sets"] = sets_facts(speech, np.arange(len(speech)))
    if table is not None:
        data["unlabeled"] = {"rows": table.n_rows, "hours": round(table.seconds / 3600, 4), "sha256": table.sha256}
    if labeled_targets is not None:
        n_rows = int((labeled_targets.matches.recording >= 0).sum())
        data["distil_labeled"] = {"rows": n_rows, "sha256": labeled_targets.table.sha256}
    if targets:
        data["teachers"] = {
            fold: {name: target.to_json() for name, target in of.items()} for fold, of in targets.items()
        }
        data["left_out"] = sorted(recipe.left_out)
        data["trusted"] = sorted({name for of in targets.values() for name in trusted(of)})
    decides = {
        "name": name,
        "data": data,
        "loss": asdict(recipe.loss(config.loss)),
        "network": asdict(config.network),
        "train": asdict(config.train),
        "min_valid": config.min_valid,
        "precision": config.precision,
        "seeds": "of each run by its seed and fold",
    }
    facts = {
        "recipe": decides,
        "skipped": speech.skipped,
        "git_commit": git_commit(),
        "packages": package_versions(*_PACKAGES),
    }
    return cast("dict[str, Any]", plain(facts))


def _records(checked: Checked, seed: int, cards: list[dict[str, Any]]) -> Iterator[Record]:
    """The students of a seed as a record of each labeled set, those of folds that an earlier call trained too.

    A set's labels and speakers are called as it calls them, so that students of other sets beside it compare.
    """
    machines = {json.dumps(card["facts"]["machine"]): card["facts"]["machine"] for card in cards}
    for part in checked.speech.parts:
        results = [result for card in cards if (result := _fold_result(card, part)).confusions]
        tested = {speaker for result in results for speaker in result.confusions}
        sexes = checked.speech.sexes
        if results:
            yield Record(
                recipe=checked.name,
                labeled=part.name,
                labels=part.labels,
                seed=seed,
                folds=tuple(results),
                sexes={own: sexes[name] for name, own in part.own_names(sexes).items() if own in tested},
                content=checked.facts | {"machines": list(machines.values())},
            )


def _fold_result(card: dict[str, Any], part: Part) -> FoldResult:
    """What a student's card says of the speakers of a set."""
    counts = np.ix_(part.places, part.places)
    return FoldResult(
        fold=card["fold"],
        best_epoch=card["best_epoch"],
        epochs=len(card["history"]),
        validation_uar=card.get("sets", {}).get(part.name, card)["validation_uar"],
        confusions={
            own: np.array(card["confusions"][name], np.int64)[counts]
            for name, own in part.own_names(card["confusions"]).items()
        },
        attributes={
            name: {own: np.array(facts["test"][speaker]) for speaker, own in part.own_names(facts["test"]).items()}
            for name, facts in card.get("attributes", {}).items()
        },
    )
