"""The job from its settings to one teacher per fold."""

import functools
import json
import logging
import posixpath
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from liser_ray.cluster import CPUS_FOR_RAY, start_ray
from liser_ray.corpora.folds import Fold, folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.display import LiveDisplay
from liser_ray.errors import UserError
from liser_ray.recipe import plain, refuse_changed_recipe
from liser_ray.storage import check_writable, exists, filesystem, join, normalise, write_bytes
from liser_ray.teachers.bundles import BUNDLE_FILE, TeacherBundle, read_bundle
from liser_ray.teachers.finetuning.config import FinetuneConfig, FoldJob
from liser_ray.teachers.finetuning.model import build_model
from liser_ray.teachers.finetuning.progress import TrainingProgress
from liser_ray.teachers.finetuning.scoring import score_confusion
from liser_ray.teachers.finetuning.split import split_fold
from liser_ray.teachers.finetuning.worker import train_worker
from liser_ray.teachers.weights import fetch, sha256

log = logging.getLogger(__name__)

_TRAINING = "training"  # Ray Train's own files, until all wanted folds are done


@dataclass(frozen=True)
class FinetuneResult:
    """What a run of the job did.

    Attributes:
        output: where the bundles are.
        labels: in the order of the teachers' outputs.
        bundles: of every fold that is done, by number.
        trained: numbers of the folds that this run trained.
        evaluation: content of evaluation.json.
    """

    output: str
    labels: tuple[str, ...]
    bundles: dict[int, TeacherBundle]
    trained: tuple[int, ...]
    evaluation: dict[str, Any]


def finetune(config: FinetuneConfig) -> FinetuneResult:
    """Train the teachers of the wanted folds that are not there yet, and score them on their test speakers.

    All that can be wrong with the settings is found before any work starts. Killed at any point and called again with
    the same settings, it goes on from the last epoch of each fold.

    Raises:
        UserError: an option, the labeled set, the base model, the output or changed settings; with what to do.
    """
    if not config.labeled:
        raise UserError("No labeled speech: give --labeled ravdess:FOLDER, cremad:FOLDER or a CSV or Parquet file.")
    output = normalise(config.output)
    check_writable(output)
    labeled = read_labeled_set(config.labeled)
    folds = folds_of(labeled)
    wanted = choose_folds(config.folds, folds)
    base_folder = fetch(config.base, "Give the speech model with --base.")
    build_model(base_folder, len(labeled.labels), config.lora, config.train.seed, torch.device("cpu"))
    speech = load_labeled_speech(labeled)
    for fold in wanted:
        split = split_fold(speech, fold, config.train.selection_share, config.train.seed)
        if len(split.train) < config.workers:
            raise UserError(
                f"Fold {fold.index} has {len(split.train)} training recordings for {config.workers} workers."
            )
    recipe = _recipe(config, speech, folds, base_folder)
    run_card = join(output, "run.json")
    refuse_changed_recipe(run_card, recipe)
    write_bytes(run_card, json.dumps({"recipe": recipe, "skipped": speech.skipped}, indent=2).encode() + b"\n")

    missing = [fold for fold in wanted if not exists(_bundle_uri(output, fold.index))]
    if missing:
        _train_folds(config, output, speech, missing)
    bundles = {
        fold.index: read_bundle(posixpath.dirname(_bundle_uri(output, fold.index)))
        for fold in folds
        if exists(_bundle_uri(output, fold.index))
    }
    evaluation = evaluate(bundles)
    write_bytes(join(output, "evaluation.json"), json.dumps(evaluation, indent=2).encode() + b"\n")
    return FinetuneResult(output, speech.labels, bundles, tuple(fold.index for fold in missing), evaluation)


def choose_folds(wanted: str, folds: Sequence[Fold]) -> list[Fold]:
    """The folds that "all" or numbers such as "0,2" name.

    Raises:
        UserError: no number, or one that the set does not have.
    """
    if wanted.strip() == "all":
        return list(folds)
    numbers = [part.strip() for part in wanted.split(",")]
    by_number = {str(fold.index): fold for fold in folds}
    unknown = [number for number in numbers if number not in by_number]
    if unknown:
        raise UserError(f"--folds {wanted}: there are the folds {', '.join(by_number)}. Give some of them, or all.")
    return [by_number[number] for number in dict.fromkeys(numbers)]


def evaluate(bundles: dict[int, TeacherBundle]) -> dict[str, Any]:
    """Scores of each fold, and of all their test recordings together.

    Returns:
        ``{"folds": {number: scores}, "overall": {"recordings": ..., "windows": ...}}``; the confusion matrices of
        "overall" are the sums over the folds.
    """
    scores = {number: bundle.content["scores"] for number, bundle in sorted(bundles.items())}
    overall = {
        way: score_confusion(np.sum([one[way]["confusion"] for one in scores.values()], axis=0))
        for way in ("recordings", "windows")
    }
    return {"folds": scores, "overall": overall}


def _recipe(config: FinetuneConfig, speech: LabeledSpeech, folds: Sequence[Fold], base_folder: Path) -> dict[str, Any]:
    return cast(
        "dict[str, Any]",
        plain(
            {
                "labeled": speech.name,
                "labels": speech.labels,
                "recordings": len(speech),
                "test_speakers": {fold.index: sorted(fold.test) for fold in folds},
                "base": {"address": config.base, "sha256": sha256(base_folder)},
                "lora": asdict(config.lora),
                "train": asdict(config.train),
                "precision": config.precision,
            }
        ),
    )


def _bundle_uri(output: str, fold: int) -> str:
    return join(output, f"fold-{fold}", BUNDLE_FILE)


def _train_folds(config: FinetuneConfig, output: str, speech: LabeledSpeech, folds: Sequence[Fold]) -> None:
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    train = _train_here if config.workers == 0 else _train_on_cluster
    problems = [f"Fold {fold}: {problem}" for fold, problem in train(config, output, speech, folds).items() if problem]
    if problems:
        raise UserError("\n".join(problems))
    if exists(join(output, _TRAINING)):  # there is none where this process trained
        fs, path = filesystem(join(output, _TRAINING))
        fs.delete_dir(path)


def _train_here(config: FinetuneConfig, output: str, speech: LabeledSpeech, folds: Sequence[Fold]) -> dict[int, str]:
    """Train folds in this process, one after the other; what went wrong by fold, "" where nothing did."""
    progress = TrainingProgress()
    with LiveDisplay("epochs", len(folds) * config.train.epochs, lambda _: progress.snapshot()):
        return {
            fold.index: _train_fold(FoldJob(config, fold, output, speech, progress.add), ScalingConfig(num_workers=0))
            for fold in folds
        }


def _train_on_cluster(
    config: FinetuneConfig, output: str, speech: LabeledSpeech, folds: Sequence[Fold]
) -> dict[int, str]:
    """Train folds beside each other, as many as the cluster has room for."""
    start_ray()
    scaling, at_once = fit_workers(config, len(folds), ray.cluster_resources())
    log.info("%d folds, %d at once, each on %d × %s", len(folds), at_once, config.workers, scaling.resources_per_worker)
    speech_ref = ray.put(speech)
    progress: Any = ray.remote(num_cpus=0)(TrainingProgress).remote()
    tell = functools.partial(_tell, progress)

    def look(_: float) -> tuple[int, str]:
        return cast("tuple[int, str]", ray.get(progress.snapshot.remote()))

    def train(fold: Fold) -> str:
        return _train_fold(FoldJob(config, fold, output, speech_ref, tell), scaling)

    # Threads: each waits for a controller of its own, an actor.
    pool = ThreadPoolExecutor(at_once)
    try:
        with LiveDisplay("epochs", len(folds) * config.train.epochs, look):
            return {fold.index: problem for fold, problem in zip(folds, pool.map(train, folds), strict=True)}
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        ray.shutdown()  # ends the workers, and with them the threads that wait for them
        raise


def _tell(progress: Any, fold: int, done: int, line: str) -> None:  # noqa: ANN401 (an actor)
    progress.add.remote(fold, done, line)


def fit_workers(config: FinetuneConfig, n_folds: int, resources: dict[str, float]) -> tuple[ScalingConfig, int]:
    """What each worker gets, and how many folds the cluster can train at once.

    Args:
        config: with workers, GPUs and CPUs per worker.
        n_folds: to train.
        resources: of the cluster, as Ray gives them.

    Raises:
        UserError: not even one fold fits.
    """
    n_gpus, n_cpus = resources.get("GPU", 0.0), max(1.0, resources.get("CPU", 0.0) - CPUS_FOR_RAY)
    gpus = config.gpus_per_worker if config.gpus_per_worker >= 0 else min(1.0, n_gpus)
    room = [n_folds]
    if gpus:
        room.append(int(n_gpus / gpus / config.workers))
        cpus = config.cpus_per_worker or 1
    else:
        cpus = config.cpus_per_worker or max(1, int(n_cpus / config.workers / n_folds))
    room.append(int(n_cpus / cpus / config.workers))
    at_once = min(room)
    if at_once < 1:
        raise UserError(
            f"{config.workers} workers with {cpus} CPUs and {gpus:g} GPUs each do not fit the cluster, which has "
            f"{n_cpus:g} CPUs and {n_gpus:g} GPUs. Lower --workers, --cpus_per_worker or --gpus_per_worker."
        )
    per_worker = {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})
    return ScalingConfig(num_workers=config.workers, use_gpu=gpus > 0, resources_per_worker=per_worker), at_once


def _train_fold(job: FoldJob, scaling: ScalingConfig) -> str:
    """Train a fold to its end; "" or what went wrong."""
    fs, path = filesystem(join(job.output, _TRAINING))
    trainer = TorchTrainer(
        cast("Any", train_worker),
        train_loop_config={"job": job},
        scaling_config=scaling,
        run_config=RunConfig(
            name=f"fold-{job.fold.index}",
            storage_path=path,
            storage_filesystem=fs,
            failure_config=FailureConfig(max_failures=job.config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        problem = cast("Any", trainer.fit()).return_value  # of Train V2's result
    except ray.train.TrainingFailedError as error:
        last_line = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().rpartition("\n")[2]
        return f"{last_line} The same command goes on from the last epoch."
    return str(problem or "")
