"""The job from its settings to a student per fold and seed, and a record per seed."""

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tqdm import tqdm

from liser_ray.commands.settings import numbers
from liser_ray.corpora.folds import Fold, choose_folds, folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.results.paper import CONFIGURATIONS
from liser_ray.results.records import FoldResult, Record, record_to_json
from liser_ray.runtime.display import LiveDisplay, RunsProgress, Tell
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, delete_folder, write_bytes
from liser_ray.storage.run_record import package_versions, plain, refuse_changed_recipe
from liser_ray.student.config import NetworkConfig
from liser_ray.student.data.labels_table import LabelsTable, SpeechTeacher, choose_teacher, open_labels_table
from liser_ray.student.data.mels import BYTES_PER_S, at_speeds, compute_log_mels, padded_frames
from liser_ray.student.data.order import EpochPlan
from liser_ray.student.data.unlabeled import SegmentSettings, UnlabeledRecordings, load_unlabeled
from liser_ray.student.training.config import RunJob, StudentConfig
from liser_ray.student.training.recipes import LABELS_ALONE, loss_of, run_name
from liser_ray.student.training.run import ProcessGroup, RunInputs, read_card, train_run, training_recordings
from liser_ray.training.memory import KEEP_FREED_MEMORY

log = logging.getLogger(__name__)

RECORDS_FOLDER = "records"
_PACKAGES = ("ray", "torch", "torchaudio", "numpy")
_TRAINING = "training"  # Ray Train's own files, until all wanted runs are done


@dataclass(frozen=True)
class StudentResult:
    """What a run of the job did.

    Attributes:
        output: where the students are.
        name: of the recipe with its variants.
        records: one per seed whose wanted folds are all done, by seed.
        trained: names of the runs that this call trained.
    """

    output: str
    name: str
    records: tuple[Record, ...]
    trained: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Checked:
    """What a job works on, as far as it is needed to know that nothing is wrong.

    Attributes:
        name: of the recipe with its variants.
        speech: the labeled set.
        fold_numbers: of all folds of the set, wanted or not.
        folds: the wanted ones.
        table: the labels table; None for labels alone.
        teachers: the speech teacher of each wanted fold.
        facts: see `RunInputs`.
    """

    name: str
    speech: LabeledSpeech
    fold_numbers: tuple[int, ...]
    folds: tuple[Fold, ...]
    table: LabelsTable | None
    teachers: dict[int, SpeechTeacher]
    facts: dict[str, Any]


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
    # Older outputs name only the teachers of the folds that were wanted when they were begun.
    refuse_changed_recipe(run_card, checked.facts["recipe"], may_grow="data.speech_teachers")
    write_bytes(run_card, json.dumps(checked.facts, indent=2).encode() + b"\n")

    runs = [(seed, fold.index) for seed in seeds for fold in checked.folds]
    missing = [run for run in runs if read_card(_run_output(output, *run)) is None]
    if missing:
        inputs = make_inputs(config, checked)
        jobs = [RunJob(config, checked.name, fold, seed, _run_output(output, seed, fold)) for seed, fold in missing]
        problems = (_train_here if config.workers == 0 else _train_on_cluster)(jobs, inputs)
        told = [f"{Path(job.output).name}: {problem}" for job, problem in zip(jobs, problems, strict=True) if problem]
        if told:
            raise UserError("\n".join(told))
        delete_folder(join(output, _TRAINING))
    records = tuple(_record(checked, seed, output) for seed in seeds)
    for record in records:
        write_bytes(join(output, RECORDS_FOLDER, record_file(record)), record_to_json(record).encode())
    return StudentResult(output, checked.name, records, tuple(_run_name(*run) for run in missing))


def check(config: StudentConfig) -> Checked:
    """Read all that is quickly read, and refuse what can't be trained.

    Raises:
        UserError: with what to do.
    """
    with_table = config.recipe not in LABELS_ALONE
    _check_options(config, with_table)
    labeled = read_labeled_set(config.labeled)
    every_fold = folds_of(labeled)
    folds = choose_folds(config.folds, every_fold)
    table = open_labels_table(config.unlabeled) if with_table else None
    known: dict[int, SpeechTeacher] = {}  # of all folds: an output's recipe is the same whichever are wanted
    if table is not None:
        for fold in every_fold:
            try:
                known[fold.index] = choose_teacher(table, config.speech_teacher, labeled.name, labeled.labels, fold)
            except UserError:
                if fold in folds:
                    raise
    teachers = {fold.index: known[fold.index] for fold in folds} if table else {}
    speech = load_labeled_speech(labeled)
    for fold in folds:
        for seed in numbers(config.seeds, "--seeds"):
            training_recordings(speech, fold, config.train, seed)
        if not len(speech.of_speakers(fold.test)):
            raise UserError(f"{speech.name}: fold {fold.index} has no usable recording to test on.")
    name = run_name(config.recipe, config.loss, config.train.two_stage, config.train.labeled_fraction)
    facts = _facts(config, name, speech, table, known)
    return Checked(name, speech, tuple(fold.index for fold in every_fold), tuple(folds), table, teachers, facts)


def make_inputs(config: StudentConfig, checked: Checked) -> RunInputs:
    """Compute the spectrograms of all runs, those of the labels table too if they fit the memory."""
    device = _device()
    normalisation = config.network.normalisation
    speech, table, speeds = checked.speech, checked.table, config.train.augment.speeds
    n_samples = np.diff(speech.ends, prepend=0)
    n_frames = sum(int(padded_frames(np.ceil(n_samples / speed).astype(np.int64)).sum()) for speed in speeds)
    waveforms = at_speeds([speech.waveform(i) for i in range(len(speech))], speeds)
    recordings: UnlabeledRecordings | None = None
    if table is not None and table.seconds * BYTES_PER_S <= config.memory_gb * 1e9:
        with _bar("read labels", table.n_rows) as report:
            wanted = {teacher.name: teacher for teacher in checked.teachers.values()}.values()
            settings = SegmentSettings(normalisation, config.min_video_valid)
            recordings = load_unlabeled(table, wanted, speech.labels, settings, device, report)
    elif table is not None:
        log.info("%s: %s rows are streamed", table.uri, f"{table.n_rows:,}")
    return RunInputs(
        speech=speech,
        mels=compute_log_mels(waveforms, n_frames, normalisation, device),
        folds={fold.index: fold for fold in checked.folds},
        table=table,
        recordings=recordings,
        teachers=checked.teachers,
        facts=checked.facts,
    )


def record_file(record: Record) -> str:
    """The file name of a record, such as ``ravdess-no-dstl-seed-0.json``."""
    return f"{record.labeled}-{record.recipe}-seed-{record.seed}.json"


def _check_options(config: StudentConfig, with_table: bool) -> None:
    if not config.labeled:
        raise UserError("No labeled speech: give --labeled ravdess:FOLDER, cremad:FOLDER or a CSV or Parquet file.")
    if with_table and not config.unlabeled:
        raise UserError(
            f"{config.recipe} learns from teachers: give the output of label_corpus.py as --unlabeled, or --recipe "
            "no-dstl."
        )
    if config.recipe not in CONFIGURATIONS and config.network == NetworkConfig():
        raise UserError(
            f"{config.recipe} with the paper's network: a recipe's settings come with the command line. From Python, "
            'parse_settings(StudentConfig, "", ["--recipe", "strong", ...], defaults=defaults_of) gives them.'
        )
    if config.train.two_stage and not with_table:
        raise UserError("two_stage distils first: give a recipe with a teacher, such as --recipe sp-dstl.")


def _run_name(seed: int, fold: int) -> str:
    return f"seed-{seed}-fold-{fold}"


def _run_output(output: str, seed: int, fold: int) -> str:
    return join(output, _run_name(seed, fold))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _facts(
    config: StudentConfig,
    name: str,
    speech: LabeledSpeech,
    table: LabelsTable | None,
    teachers: dict[int, SpeechTeacher],
) -> dict[str, Any]:
    """What decides on the students ("recipe"), and what else one should know of them."""
    data: dict[str, Any] = {
        "labeled": {"name": speech.name, "recordings": len(speech), "sha256": _digest(speech), "labels": speech.labels}
    }
    if table is not None:
        data["unlabeled"] = {"rows": table.n_rows, "hours": round(table.seconds / 3600, 4), "sha256": table.sha256}
        data["speech_teachers"] = {fold: asdict(teacher) for fold, teacher in teachers.items()}
    recipe = {
        "name": name,
        "data": data,
        "loss": asdict(loss_of(config.recipe, config.loss)),
        "network": asdict(config.network),
        "train": asdict(config.train),
        "min_video_valid": config.min_video_valid,
        "precision": config.precision,
    }
    return cast(
        "dict[str, Any]",
        plain(
            {
                "recipe": recipe,
                "skipped": speech.skipped,
                "git_commit": git_commit(),
                "packages": package_versions(*_PACKAGES),
            }
        ),
    )


def git_commit() -> str:
    """The commit of the source tree, with "+" if it was changed since; "" outside one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + "+" * bool(changed.stdout.strip())


def _digest(speech: LabeledSpeech) -> str:
    """SHA-256 of all sounds with their labels and speakers."""
    digest = hashlib.sha256(speech.pcm.data)
    digest.update(json.dumps([speech.labels, speech.speakers]).encode())
    digest.update(np.stack([speech.ends, speech.label_index]).tobytes())
    return digest.hexdigest()


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that is told how much is done: a bar on a terminal, a line now and then in a log."""
    logged = time.monotonic()
    with tqdm(total=total, desc=what, unit=" rows", delay=3.0, disable=not sys.stderr.isatty()) as bar:

        def report(done: int) -> None:
            nonlocal logged
            bar.update(done - bar.n)
            if bar.disable and time.monotonic() - logged > 30:
                logged = time.monotonic()
                log.info("%s: %s of %s rows", what, f"{done:,}", f"{total:,}")

        yield report


def total_steps(jobs: Iterable[RunJob], inputs: RunInputs) -> int:
    """Steps of all epochs of some runs."""
    total = 0
    for job in jobs:
        train = job.config.train
        n_labeled = len(training_recordings(inputs.speech, inputs.folds[job.fold], train, job.seed))
        n_unlabeled = inputs.table.n_rows if inputs.table else 0
        stages = [(n_labeled, n_unlabeled)] if not train.two_stage else [(0, n_unlabeled), (n_labeled, 0)]
        plans = [EpochPlan(*sizes, train.batch_size, train.labeled_per_batch) for sizes in stages]
        total += train.epochs * sum(plan.n_steps for plan in plans)
    return total


def _train_here(jobs: Sequence[RunJob], inputs: RunInputs) -> list[str]:
    """Train in this process, one run after the other; what went wrong with each, "" where nothing did."""
    progress = RunsProgress()
    group = ProcessGroup(_device())
    problems = []
    with LiveDisplay("steps", total_steps(jobs, inputs), lambda _: progress.snapshot()):
        for job in jobs:
            try:
                train_run(job, inputs, group, progress.add)
                problems.append("")
            except (UserError, FloatingPointError) as error:
                problems.append(str(error))
    return problems


def _train_on_cluster(jobs: Sequence[RunJob], inputs: RunInputs) -> list[str]:
    """Train runs beside each other, as many as the cluster has room for."""
    # Seconds to import; not for those who train here.
    import ray

    from liser_ray.runtime.cluster import start_ray
    from liser_ray.student.training.worker import train_worker
    from liser_ray.training.workers import WorkerNeeds, fit_workers, run_trainer, train_side_by_side

    start_ray()
    config = jobs[0].config
    needs = WorkerNeeds(config.workers, config.cpus_per_worker or 1, config.gpus_per_worker, gpu_share=0.25)
    scaling, at_once = fit_workers(needs, len(jobs), ray.cluster_resources())
    log.info("%d runs, %d at once, each on %d × %s", len(jobs), at_once, config.workers, scaling.resources_per_worker)
    inputs_ref = ray.put(inputs)

    def train(number: int, tell: Tell) -> str:
        job = jobs[number]
        arguments = {"job": job, "inputs": inputs_ref, "tell": tell}
        storage = join(absolute(config.output), _TRAINING)
        name = Path(job.output).name
        return run_trainer(train_worker, arguments, name, storage, scaling, config.max_failures, KEEP_FREED_MEMORY)

    return train_side_by_side(train, len(jobs), at_once, "steps", total_steps(jobs, inputs))


def _record(checked: Checked, seed: int, output: str) -> Record:
    """The students of a seed as one record, those of folds that an earlier call trained too."""
    cards = [read_card(_run_output(output, seed, fold)) for fold in checked.fold_numbers]
    results = [
        FoldResult(
            fold=card["fold"],
            best_epoch=card["best_epoch"],
            epochs=len(card["history"]),
            validation_uar=card["validation_uar"],
            confusions={speaker: np.array(counts, np.int64) for speaker, counts in card["confusions"].items()},
        )
        for card in cards
        if card is not None
    ]
    speech = checked.speech
    tested = {speaker for result in results for speaker in result.confusions}
    return Record(
        recipe=checked.name,
        labeled=speech.name,
        labels=speech.labels,
        seed=seed,
        folds=tuple(results),
        sexes={speaker: sex for speaker, sex in speech.sexes.items() if speaker in tested},
        content=checked.facts,
    )
