"""The job from its settings to one teacher per fold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from liser_ray.corpora.folds import Fold, choose_folds, folds_of
from liser_ray.corpora.labeled import FORMS, read_labeled_set
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.finetuning.config import FinetuneConfig
from liser_ray.finetuning.head import freeze
from liser_ray.finetuning.model import build_model
from liser_ray.finetuning.run import TeacherJob, train_head, train_lora
from liser_ray.finetuning.scoring import HEARINGS, score_confusion
from liser_ray.finetuning.split import split_fold
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.storage.files import check_writable, exists, write_bytes
from liser_ray.storage.run_record import plain, refuse_changed_recipe
from liser_ray.teachers.bundles import BUNDLE_FILE, TeacherBundle, read_bundle
from liser_ray.teachers.speech_inputs import read_preparation
from liser_ray.teachers.speech_models import load_base
from liser_ray.training.job import train_runs


@dataclass(frozen=True)
class FinetuneResult:
    """What a run of the job did.

    Attributes:
        output: where the bundles are.
        labels: in the order of the teachers' outputs.
        bundles: of every fold that is done, by number.
        trained: numbers of the folds that this call trained.
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
    the same settings, it goes on from the last checkpoint of each fold.

    Raises:
        UserError: an option, the labeled set, the base model, the output or changed settings; with what to do.
    """
    if not config.labeled:
        raise UserError(f"No labeled speech: give --labeled {FORMS}.")
    output = absolute(config.output)
    check_writable(output)
    labeled = read_labeled_set(config.labeled)
    folds = folds_of(labeled)
    wanted = choose_folds(config.folds, folds)
    if not config.base.startswith("hf://"):
        config = replace(config, base=absolute(config.base))  # Ray Train's workers have folders of their own
    base_folder = fetch(config.base, "Give the speech model with --base.")
    if config.head_only:
        base = load_base(base_folder, torch.device("cpu"))
        base.refuse_missing()
        read_preparation(base_folder, base.model)
    else:
        build_model(base_folder, len(labeled.labels), config.lora, config.train.seed, torch.device("cpu"))
    speech = load_labeled_speech(labeled)
    n_steps, splits = {}, {}
    for fold in wanted:
        splits[fold] = split_fold(
            speech, fold, config.train.selection_share, config.train.seed, config.train.labeled_fraction
        )
        n_train = len(splits[fold].train)
        if n_train < config.workers:
            raise UserError(f"Fold {fold.index} has {n_train} training recordings for {config.workers} workers.")
        n_steps[fold] = config.train.epochs * -(-n_train // config.train.batch_size)
    recipe = _recipe(config, speech, folds, base_folder)
    run_card = join(output, "run.json")
    refuse_changed_recipe(run_card, recipe)
    write_bytes(run_card, json.dumps({"recipe": recipe, "skipped": speech.skipped}, indent=2).encode() + b"\n")

    def bundle_of(fold: Fold) -> str:
        return join(output, f"fold-{fold.index}")

    missing = [fold for fold in wanted if not exists(join(bundle_of(fold), BUNDLE_FILE))]
    if missing:
        jobs = [TeacherJob(config, fold, output) for fold in missing]
        storage, n_all_steps = join(output, "training"), sum(n_steps[fold] for fold in missing)
        if config.head_only:
            heard = np.unique(np.concatenate([[*splits[one].train, *splits[one].selection] for one in missing]))
            frozen = freeze(speech, heard, base_folder, config.precision)
            train_runs(train_head, jobs, frozen, config, storage, n_all_steps)
        else:
            train_runs(train_lora, jobs, speech, config, storage, n_all_steps)
    done = [fold for fold in folds if exists(join(bundle_of(fold), BUNDLE_FILE))]
    bundles = {fold.index: read_bundle(bundle_of(fold)) for fold in done}
    evaluation = evaluate(bundles)
    write_bytes(join(output, "evaluation.json"), json.dumps(evaluation, indent=2).encode() + b"\n")
    return FinetuneResult(output, speech.labels, bundles, tuple(fold.index for fold in missing), evaluation)


def evaluate(bundles: dict[int, TeacherBundle]) -> dict[str, Any]:
    """Scores of each fold ("folds"), and of all their test recordings together ("overall")."""
    scores = {number: bundle.content["scores"] for number, bundle in sorted(bundles.items())}
    overall = {
        way: score_confusion(np.sum([one[way]["confusion"] for one in scores.values()], axis=0))
        for way in ("recordings", *HEARINGS)
    }
    return {"folds": scores, "overall": overall}


def _recipe(config: FinetuneConfig, speech: LabeledSpeech, folds: Sequence[Fold], base_folder: Path) -> dict[str, Any]:
    recipe = {
        "labeled": speech.name,
        "labels": speech.labels,
        "recordings": len(speech),
        "test_speakers": {fold.index: sorted(fold.test) for fold in folds},
        "base": {"address": config.base, "sha256": sha256(base_folder)},
        "lora": None if config.head_only else asdict(config.lora),
        "train": asdict(config.train),
        "precision": config.precision,
        "seeds": "of each fold by the seed and its number",
    }
    return cast("dict[str, Any]", plain(recipe))
