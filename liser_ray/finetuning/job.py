"""The job from its settings to one teacher per fold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from liser_ray.corpora.folds import Fold, choose_folds, folds_of
from liser_ray.corpora.labeled import FORMS, read_labeled_set
from liser_ray.corpora.speech import LabeledRecordings
from liser_ray.finetuning.config import TeacherConfig
from liser_ray.finetuning.method import Method, Shared
from liser_ray.finetuning.run import TeacherJob, train_teacher
from liser_ray.finetuning.scoring import score_confusion
from liser_ray.results.records import RECORDS_FOLDER, FoldResult, Record, record_file, record_to_json
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_writable, write_bytes
from liser_ray.storage.run_record import plain, refuse_changed_recipe
from liser_ray.teachers.bundles import TeacherBundle, find_bundle
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


def finetune(config: TeacherConfig) -> FinetuneResult:
    """Train the teachers of the wanted folds that are not there yet, and score them on their test speakers.

    A record says what they made of whole recordings, as that of a student does.

    All that can be wrong with the settings is found before any work starts. Killed at any point and called again with
    the same settings, it goes on from the last checkpoint of each fold.

    Raises:
        UserError: an option, the labeled set, what is tuned, the output or changed settings; with what to do.
    """
    if not config.labeled:
        raise UserError(f"No labeled speech: give --labeled {FORMS}.")
    output = absolute(config.output)
    check_writable(output)
    method = config.method()
    labeled = read_labeled_set(config.labeled, without_files=method.takes == "text")
    folds = folds_of(labeled)
    wanted = choose_folds(config.folds, folds)
    method.check(labeled, wanted)
    jobs = [TeacherJob(method, fold, output) for fold in wanted]
    recordings = method.read(labeled)
    n_steps, heard = {}, {}
    n_first = -(-method.n_unlabeled() // config.train.batch_size)
    for job in jobs:
        split = job.split(recordings)
        n_train = len(split.train)
        if n_train < config.workers:
            raise UserError(f"Fold {job.fold.index} has {n_train} training recordings for {config.workers} workers.")
        n_steps[job.name] = config.train.epochs * (n_first + -(-n_train // config.train.batch_size))
        heard[job.name] = split.heard
    recipe = _recipe(method, recordings, folds)
    run_card = join(output, "run.json")
    refuse_changed_recipe(run_card, recipe)
    write_bytes(run_card, json.dumps({"recipe": recipe, "skipped": recordings.skipped}, indent=2).encode() + b"\n")

    def bundle_of(fold: Fold) -> str:
        return join(output, f"fold-{fold.index}")

    missing = [job for job in jobs if find_bundle(bundle_of(job.fold)) is None]
    if missing:
        indices = np.unique(np.concatenate([heard[job.name] for job in missing]))
        shared = Shared(recordings, method.inputs(recordings, indices, [job.fold for job in missing]))
        n_all_steps = sum(n_steps[job.name] for job in missing)
        done = [job.name for job in jobs if job not in missing]
        train_runs(train_teacher, missing, shared, method.config, join(output, "training"), n_all_steps, done)
    bundles = {fold.index: bundle for fold in folds if (bundle := find_bundle(bundle_of(fold)))}
    evaluation = evaluate(bundles)
    write_bytes(join(output, "evaluation.json"), json.dumps(evaluation, indent=2).encode() + b"\n")
    record = _record(method, recordings, recipe, bundles)
    write_bytes(join(output, RECORDS_FOLDER, record_file(record)), record_to_json(record).encode())
    trained = tuple(job.fold.index for job in missing)
    return FinetuneResult(output, recordings.labels, bundles, trained, evaluation)


def evaluate(bundles: dict[int, TeacherBundle]) -> dict[str, Any]:
    """Scores of each fold ("folds"), and of all their test recordings together ("overall")."""
    scores = {number: bundle.content["scores"] for number, bundle in sorted(bundles.items())}
    ways = [way for way, one in next(iter(scores.values())).items() if isinstance(one, dict)]
    overall = {way: score_confusion(np.sum([one[way]["confusion"] for one in scores.values()], axis=0)) for way in ways}
    return {"folds": scores, "overall": overall}


def _record(
    method: Method[Any], recordings: LabeledRecordings, recipe: dict[str, Any], bundles: dict[int, TeacherBundle]
) -> Record:
    """What the teachers of all folds that are done say of whole test recordings."""
    cards = [bundle.content for _, bundle in sorted(bundles.items())]
    folds = [
        FoldResult(
            fold=card["fold"],
            best_epoch=card["best_epoch"],
            epochs=len(card["history"]),
            validation_uar=card["validation_uar"],
            confusions={speaker: np.array(counts, np.int64) for speaker, counts in card["confusions"].items()},
        )
        for card in cards
    ]
    tested = {speaker for fold in folds for speaker in fold.confusions}
    machines = {json.dumps(card["machine"]): card["machine"] for card in cards}
    return Record(
        recipe=method.name,
        labeled=recordings.name,
        labels=recordings.labels,
        seed=method.config.train.seed,
        folds=tuple(folds),
        sexes={speaker: sex for speaker, sex in recordings.sexes.items() if speaker in tested},
        content={"recipe": recipe, "machines": list(machines.values())},
    )


def _recipe(method: Method[Any], recordings: LabeledRecordings, folds: Sequence[Fold]) -> dict[str, Any]:
    recipe = {
        "labeled": recordings.name,
        "labels": recordings.labels,
        "recordings": len(recordings),
        "sha256": recordings.sha256,
        "test_speakers": {fold.index: sorted(fold.test) for fold in folds},
        **method.recipe(),
        "train": asdict(method.config.train),
        "precision": method.config.precision,
        "seeds": "of each fold by the seed and its number",
    }
    return cast("dict[str, Any]", plain(recipe))
