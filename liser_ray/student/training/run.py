"""One run: the student of a fold and a seed, from its inputs to a folder with its weights and its scores."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech, training_recordings
from liser_ray.results.metrics import concordance, concordance_by_speaker
from liser_ray.results.records import confusions_by_speaker, sorted_speakers
from liser_ray.runtime.display import Tell
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, read_bytes, write_bytes
from liser_ray.storage.run_record import plain
from liser_ray.student.attributes import attribute_scales
from liser_ray.student.card import CARD_FILE, FORMAT, FRONT_END, WEIGHTS_FILE
from liser_ray.student.config import CLUSTERS, LossConfig
from liser_ray.student.data.alignment import alignment, mean_of_recordings
from liser_ray.student.data.embeddings import Reduction, fit_reduction, recordings_embeddings
from liser_ray.student.data.labeled_targets import Matches
from liser_ray.student.data.labels_table import LabelsTable
from liser_ray.student.data.mels import LogMels
from liser_ray.student.data.own_rows import OwnRows
from liser_ray.student.data.unlabeled import (
    HeldSegments,
    SegmentSettings,
    TargetWindows,
    UnlabeledRecordings,
    no_windows,
)
from liser_ray.student.familiar import least
from liser_ray.student.features import corpus_statistics
from liser_ray.student.network import StudentNetwork, count_parameters
from liser_ray.student.training.config import RunJob, StudentConfig
from liser_ray.student.training.curves import curve_writer, plot_curves
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.learned import aligned_targets, learned_targets, own_heads
from liser_ray.student.training.recipes import Recipe
from liser_ray.student.training.task import Labeled, StudentTask, Unlabeled, UnlabeledSegments
from liser_ray.teachers.targets import Target, target_of
from liser_ray.teachers.temperature import fit_temperature
from liser_ray.training.facts import machine_facts
from liser_ray.training.fit import ProcessGroup, Training, fit_settings, run_seed, validation_scores
from liser_ray.training.job import train_to_end
from liser_ray.training.precision import able_precision

VALIDATION_FILE = "validation.safetensors"
"""Beside a student's weights: what it says of its validation speakers."""


@dataclass(frozen=True, eq=False)
class LabeledTargets:
    """What teachers say of the labeled recordings.

    Attributes:
        table: of these recordings.
        matches: of its rows.
        targets: of it, by wanted fold and name.
    """

    table: LabelsTable
    matches: Matches
    targets: dict[int, dict[str, Target]]


@dataclass(frozen=True, eq=False)
class Checked:
    """What a job works on, as far as it is needed to know that nothing is wrong.

    Attributes:
        recipe: of the settings, without the targets that are left out.
        name: of the recipe with its variants.
        speech: the labeled set.
        fold_numbers: of all folds of the set, wanted or not.
        folds: the wanted ones, by number.
        table: the labels table; None without unlabeled recordings.
        own_rows: which of the table's rows are recordings of the labeled set; None: no one is.
        labeled_targets: None: teachers say nothing of the labeled recordings.
        targets: that students learn from, by wanted fold and name.
        facts: hashes and counts of the data, packages, commit, for the students' cards.
    """

    recipe: Recipe
    name: str
    speech: LabeledSpeech
    fold_numbers: tuple[int, ...]
    folds: dict[int, Fold]
    table: LabelsTable | None
    own_rows: OwnRows | None
    labeled_targets: LabeledTargets | None
    targets: dict[int, dict[str, Target]]
    facts: dict[str, Any]

    def unlabeled_rows(self, fold: int) -> np.ndarray:
        """The table's labeled rows that students of a fold may hear, int64 [n]: of nobody whom they are scored on."""
        if self.table is None:
            return np.zeros(0, np.int64)
        rows, of = np.arange(self.table.n_rows), self.folds[fold]
        return rows if self.own_rows is None else rows[~self.own_rows.of_speakers(of.test | of.validation)]


@dataclass(frozen=True, eq=False)
class RunInputs(Checked):
    """What all runs of a job share.

    Attributes:
        mels: spectrograms of the labeled set, in each way that it is heard.
        recordings: the table's rows, if they are held in memory.
        labeled_windows: what teachers say of the labeled recordings, by the targets' names in their table.
        embeddings: some of a streamed table's, float16 [n, D] each, by the names of the embeddings in it.
        means: of a streamed table's targets that are to be aligned, float64 [K] each, by their names in it.
        settings: how segments of the table are made.
    """

    mels: LogMels
    recordings: UnlabeledRecordings | None
    labeled_windows: dict[str, TargetWindows]
    embeddings: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    settings: SegmentSettings


def train_run(job: RunJob, inputs: RunInputs, group: ProcessGroup, tell: Tell) -> None:
    """Train a run from its last checkpoint to its end; the first process writes its folder.

    Raises:
        UserError: the fold can't be trained on.
        FloatingPointError: the loss is not finite.
    """
    training = make_training(job, inputs, group)
    with curve_writer(job.output, job.config.log, _shown(job, inputs)) as add:
        train_to_end(
            training,
            job.name,
            join(job.output, "state.pt"),
            job.config.checkpoint_every_s,
            tell,
            write=lambda: _write_student(job, inputs, training),
            after_epoch=lambda score: add(score.flat),
        )


def _shown(job: RunJob, inputs: RunInputs) -> dict[str, Any]:
    """Settings of a run by flat names, for those who compare runs."""
    config = job.config
    loss = inputs.recipe.loss(config.loss)
    groups: dict[str, Any] = {"loss": loss, "network": config.network, "train": config.train}
    flat = {f"{group}.{name}": str(one) for group, of in groups.items() for name, one in plain(asdict(of)).items()}
    return {"recipe": inputs.name, "labeled": inputs.speech.name, "seed": job.seed, "fold": job.fold, **flat}


def make_training(
    job: RunJob, inputs: RunInputs, group: ProcessGroup, validation: EvaluationSet | None = None
) -> Training:
    """The training of a run, not begun; ``validation`` is a `validation_set` that several runs share.

    Raises:
        UserError: the fold can't be trained on.
    """
    config, speech, fold = job.config, inputs.speech, inputs.folds[job.fold]
    refuse_without_votes(config, speech)
    seed = run_seed(job.seed, job.fold)
    torch.manual_seed(seed)
    loss = inputs.recipe.loss(config.loss)
    targets = learned_targets(inputs.targets[job.fold], loss)
    train = training_recordings(speech, fold, config.train.labeled_fraction, config.train.labeled_by)
    of_labeled = _of_labeled(inputs, job.fold, targets, loss)
    reductions = {
        name: _reduction(target, of_labeled.get(name), train, job.fold, inputs, loss.embedding_size, group.device)
        for name, target in targets.items()
        if target.kind == "embedding"
    }
    projections = {target_of(name): one.axes.shape[1] for name, one in reductions.items()}
    heads = own_heads(targets, loss)
    heads |= {CLUSTERS: loss.clusters} if loss.clusters else {}
    student = StudentNetwork(len(speech.labels), heads, config.network, projections, len(loss.attributes))
    student.to(group.device)
    if student.classifier.normalisation is not None:
        ends = inputs.mels.ends
        heard = np.arange(len(ends)).reshape(-1, len(speech))[:, train].ravel()  # in each way
        of_training = (torch.from_numpy(inputs.mels.frames[ends[i - 1] if i else 0 : ends[i]].T) for i in heard)
        student.classifier.normalisation.set_corpus(corpus_statistics(of_training))
    scales = attribute_scales(speech.attributes, loss.attributes, train)
    attributes = None
    if scales:
        of_mean_0 = [(speech.attributes[name] - mean) / std for name, (mean, std) in scales.items()]
        attributes = np.stack(of_mean_0, axis=1, dtype=np.float32)
    task = StudentTask(
        student,
        Labeled(inputs.mels, speech, train, targets, of_labeled, attributes),
        _unlabeled(job, inputs, targets, seed, group, train),
        validation or validation_set(config, inputs, job.fold, group.device),
        config.train,
        loss,
        seed,
        group,
        config.network.normalisation,
        reductions,
    )
    return Training(task, fit_settings(config.train), seed, group, able_precision(group.device, config.precision))


def refuse_without_votes(config: StudentConfig, speech: LabeledSpeech) -> None:
    """Refuse, with a `UserError`, what is learned from votes where a set has none."""
    truth = config.train.truth
    wanted = f"--train.truth {truth}" if truth != "label" else "--loss.penalty" * bool(config.loss.penalty)
    if wanted and speech.votes is None:
        raise UserError(
            f"{speech.name} has no votes for {wanted}: give a list with columns votes.LABEL, or the whole of CREMA-D, "
            "with processedResults/tabulatedVotes.csv."
        )


def validation_set(config: StudentConfig, inputs: RunInputs, fold: int, device: torch.device) -> EvaluationSet:
    """What the students of a fold are validated on."""
    indices = inputs.speech.of_speakers(inputs.folds[fold].validation)
    return EvaluationSet(inputs.speech, indices, config.network.normalisation, device, config.network.chunks)


def sets_facts(speech: LabeledSpeech, recordings: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of each set that is joined how many of some recordings are of it, and what its labels are called in the whole."""
    counts = np.bincount(speech.part_index[recordings], minlength=len(speech.parts)).tolist()
    return {
        part.name: {
            "recordings": count,
            "labels": {own: speech.labels[place] for own, place in zip(part.labels, part.places, strict=True)},
        }
        for part, count in zip(speech.parts, counts, strict=True)
    }


def trusted(targets: Mapping[str, Target]) -> list[str]:
    """Names of targets whose teachers do not say whom they have heard."""
    return [name for name, target in targets.items() if target.tuned_on is None]


def read_card(uri: str) -> dict[str, Any] | None:
    """The card of a finished run's folder, or None."""
    card = join(uri, CARD_FILE)
    return json.loads(read_bytes(card)) if exists(card) else None


def _validation_answers(task: StudentTask, speech: LabeledSpeech, fold: Fold, training: Training) -> dict[str, Tensor]:
    """What the student says of its validation speakers: "logits" [n, K], "truth" [n], "speaker" [n], their place.

    Logits of labels that a recording's set does not have are -inf.
    """
    speakers = sorted_speakers(fold.validation)
    indices = speech.of_speakers(fold.validation)
    return {
        "logits": torch.from_numpy(task.validation.logits(task.model.classifier.eval(), training.precision)),
        "truth": torch.from_numpy(task.validation.truth),
        "speaker": torch.tensor([speakers.index(speech.speakers[i]) for i in indices]),
    }


def calibrate(outputs: Sequence[str]) -> None:
    """Give each of the students of a seed its temperature, and write it into its card.

    Two validation speakers are too few to fit one. So a student's is fitted to what all students say of their own
    validation speakers, without those whom it is tested on itself. How sure a recipe is differs little from fold to
    fold, and nobody is scored with a temperature that their own recordings have set.

    Args:
        outputs: folders of finished runs, of the same recipe and seed.
    """
    answers = []
    cards = {output: card for output in outputs if (card := read_card(output)) is not None}
    for output, card in cards.items():
        if exists(path := join(output, VALIDATION_FILE)):
            found = safetensors.torch.load(read_bytes(path))
            speakers = np.array(card["speakers"]["validation"])[found["speaker"].numpy()]
            answers.append((speakers, found["logits"].numpy(), found["truth"].numpy()))
    if not answers:
        return
    speakers, logits, truth = (np.concatenate(one) for one in zip(*answers, strict=True))
    for output, card in cards.items():
        kept = ~np.isin(speakers, card["speakers"]["test"])
        if kept.any() and len(card["labels"]) > 1:
            temperature = round(fit_temperature(logits[kept], truth[kept]), 4)
            add_to_card(output, {"temperature": temperature, "temperature_recordings": int(kept.sum())})


def add_to_card(output: str, facts: Mapping[str, Any]) -> None:
    """Write more facts into the card of a finished run, if there is one and it has not these."""
    card = read_card(output)
    if card is not None and card != {**card, **facts}:
        write_bytes(join(output, CARD_FILE), json.dumps({**card, **facts}, indent=1).encode() + b"\n")


def _of_labeled(inputs: RunInputs, fold: int, targets: dict[str, Target], loss: LossConfig) -> dict[str, TargetWindows]:
    """What the teachers say of the labeled recordings; nothing of what their table has no target of."""
    if inputs.labeled_targets is None:
        return {}
    there = learned_targets(inputs.labeled_targets.targets[fold], loss)
    nothing = {name: no_windows(len(inputs.speech), target.n_values) for name, target in targets.items()}
    return nothing | {name: inputs.labeled_windows[there[name].name] for name in targets if name in there}


def _reduction(
    target: Target,
    of_labeled: TargetWindows | None,
    train: np.ndarray,
    fold: int,
    inputs: RunInputs,
    size: int,
    device: torch.device,
) -> Reduction:
    """Of an embedding, by what the student learns from: no recording of a validation or test speaker is among it.

    Raises:
        UserError: there is none.
    """
    known = [inputs.embeddings[target.name]] if target.name in inputs.embeddings else []
    if inputs.recordings is not None and target.name in inputs.recordings.windows:
        known.append(recordings_embeddings(inputs.recordings.windows[target.name], inputs.unlabeled_rows(fold)))
    known += [recordings_embeddings(of_labeled, train)] if of_labeled is not None else []
    if not any(map(len, known)):
        raise UserError(
            f"The table has no {target.name} of a recording that trains: label them with this teacher, or give "
            f"--loss.embeddings.{target.teacher} 0."
        )
    return fit_reduction(np.concatenate([one for one in known if len(one)]), size, device)


def _alignments(
    job: RunJob, inputs: RunInputs, targets: dict[str, Target], train: np.ndarray, device: torch.device
) -> dict[str, Tensor]:
    """Factors for targets that are brought to the labels' frequencies, float32 [K] each; sets weigh the same."""
    if not job.config.train.align:
        return {}
    speech, rows = inputs.speech, inputs.unlabeled_rows(job.fold)
    label_index, part_index = speech.label_index[train], speech.part_index[train]
    counts = [np.bincount(label_index[part_index == i], minlength=len(speech.labels)) for i in np.unique(part_index)]
    if job.config.train.class_weights == "balanced":
        counts = [one.clip(max=1) for one in counts]
    wanted = np.mean([one / one.sum() for one in counts], axis=0)
    found = {}
    for name, target in aligned_targets(targets, speech.labels).items():
        held = inputs.recordings
        mean = inputs.means[target.name] if held is None else mean_of_recordings(held.windows[target.name], rows)
        found[name] = alignment(mean, wanted).to(device)
    return found


def _unlabeled(
    job: RunJob, inputs: RunInputs, targets: dict[str, Target], seed: int, group: ProcessGroup, train: np.ndarray
) -> Unlabeled | None:
    table, recordings, placebo = inputs.table, inputs.recordings, job.config.train.placebo
    if table is None or not (targets or job.config.loss.clusters):
        return None
    rows = inputs.unlabeled_rows(job.fold)

    def start(done: int, done_here: int) -> UnlabeledSegments:
        if recordings is not None:
            return HeldSegments(recordings, targets, seed, done, group.device, placebo, rows)
        # Ray takes seconds to import; not for those who hold their table in memory.
        from liser_ray.student.data.stream import StreamedSegments, StreamSource

        source = StreamSource(table, targets, inputs.settings, seed)
        return StreamedSegments(source, done_here, group.device, group.rank, group.world_size)

    return Unlabeled(len(rows), start, _alignments(job, inputs, targets, train, group.device))


def _rescale_attributes(job: RunJob, inputs: RunInputs, task: StudentTask) -> None:
    """Let a trained network give its attributes on the scale of the list."""
    names, head = inputs.recipe.loss(job.config.loss).attributes, task.model.classifier.head
    scales = attribute_scales(inputs.speech.attributes, names, task.labeled.train)
    for row, (mean, std) in enumerate(scales.values(), len(inputs.speech.labels)):
        with torch.no_grad():
            head.weight[row] *= std
            head.bias[row] = mean + std * head.bias[row]


def _attribute_facts(job: RunJob, inputs: RunInputs, training: Training, test: EvaluationSet) -> dict[str, Any]:
    """Of each attribute the CCC on the validation speakers, and by test speaker what CCC is computed from."""
    task, speech, names = (
        cast("StudentTask", training.task),
        inputs.speech,
        inputs.recipe.loss(job.config.loss).attributes,
    )
    classifier = task.model.classifier.eval()

    def sums(recordings: EvaluationSet) -> dict[str, dict[str, np.ndarray]]:
        if not names or not len(recordings):
            return {name: {} for name in names}
        said, indices = recordings.means(classifier, training.precision), recordings.indices
        spoken_by = [speech.speakers[i] for i in indices]
        return {
            name: concordance_by_speaker(speech.attributes[name][indices], said[:, column], spoken_by)
            for column, name in enumerate(names, len(speech.labels))
        }

    validated, tested = sums(task.validation), sums(test)
    return {
        name: {
            "validation_ccc": _ccc(validated[name]),
            "test_ccc": _ccc(tested[name]),
            "test": {speaker: of.tolist() for speaker, of in tested[name].items()},
        }
        for name in names
    }


def _ccc(sums: Mapping[str, np.ndarray]) -> float | None:
    found = concordance(np.sum([*sums.values()], axis=0)) if sums else math.nan
    return round(found, 4) if math.isfinite(found) else None


def _write_student(job: RunJob, inputs: RunInputs, training: Training) -> None:
    speech, fold, config = inputs.speech, inputs.folds[job.fold], job.config
    task, device = cast("StudentTask", training.task), training.group.device
    classifier = task.model.classifier
    indices = speech.of_speakers(fold.test)
    test = EvaluationSet(speech, indices, config.network.normalisation, device, config.network.chunks)
    logits = test.logits(classifier.eval(), training.precision) if len(test) else np.zeros((0, len(speech.labels)))
    speakers = [speech.speakers[i] for i in indices]
    confusions = confusions_by_speaker(test.truth, logits.argmax(axis=1), speakers, len(speech.labels))
    assert training.best is not None
    targets = inputs.targets.get(job.fold, {})
    history = [score.flat for score in training.history]
    heard = {speech.speakers[i] for i in task.labeled.train}
    used = {"train": heard, "validation": fold.validation, "test": fold.test}
    card: dict[str, Any] = {
        "format": FORMAT,
        "recipe": inputs.name,
        "labeled": speech.name,
        "labels": list(speech.labels),
        "fold": job.fold,
        "seed": job.seed,
        "speakers": {part: list(sorted_speakers(speakers)) for part, speakers in used.items()},
        "n_recordings": {
            "train": len(task.labeled.train),
            "validation": len(task.validation),
            "test": len(test),
            "unlabeled": len(inputs.unlabeled_rows(job.fold)),
        },
        "teachers": {name: target.to_json() for name, target in targets.items()},
        "trusted": trusted(targets),
        "epoch_steps": sum(plan.n_steps for plan in task.plans),
        "best_epoch": training.best.epoch,
        "validation_uar": training.best.validation_uar,
        "confusions": {speaker: confusion.tolist() for speaker, confusion in confusions.items()},
        "history": history,
        "parameters": {"training": count_parameters(task.model), "inference": count_parameters(classifier)},
        "front_end": FRONT_END,
        "heard": least(task.heard_statistics()),
        "network": asdict(config.network),
        "facts": inputs.facts | {"machine": machine_facts(device, config.precision)},
    }
    _rescale_attributes(job, inputs, task)
    if attributes := _attribute_facts(job, inputs, training, test):
        card["attributes"] = attributes
    answers = _validation_answers(task, speech, fold, training) if len(task.validation) else {}
    if answers:
        write_bytes(join(job.output, VALIDATION_FILE), safetensors.torch.save(answers))
    if speech.joined:
        card["sets"] = sets_facts(speech, task.labeled.train)
        part_index = speech.part_index[speech.of_speakers(fold.validation)]
        for number, of_set in enumerate(card["sets"].values()):
            said = {name: values[part_index == number].numpy() for name, values in answers.items()}
            known = bool(np.any(part_index == number))
            of_set["validation_uar"] = validation_scores(said["logits"], said["truth"])[1] if known else None
    weights = {name: value.contiguous().cpu() for name, value in classifier.state_dict().items()}
    write_bytes(join(job.output, WEIGHTS_FILE), safetensors.torch.save(weights))
    picture = plot_curves(training.history, training.best.epoch, f"{inputs.name}, {job.name}")
    write_bytes(join(job.output, "curves.png"), picture)
    write_bytes(join(job.output, CARD_FILE), json.dumps(card, indent=1).encode() + b"\n")  # last: it says "done"
