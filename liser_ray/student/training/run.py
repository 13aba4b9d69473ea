"""One run: the student of a fold and a seed, from its inputs to a folder with its weights and its scores."""

import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import nn

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.corpora.utterance import sorted_speakers
from liser_ray.results.metrics import confusion_matrix
from liser_ray.runtime.display import Tell
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, filesystem, read_bytes, write_bytes
from liser_ray.student.card import CARD_FILE, FORMAT, FRONT_END, WEIGHTS_FILE
from liser_ray.student.data.labels_table import LabelsTable, SpeechTeacher
from liser_ray.student.data.mels import LogMels
from liser_ray.student.data.unlabeled import HeldSegments, SegmentSettings, UnlabeledRecordings
from liser_ray.student.features import corpus_statistics
from liser_ray.student.losses import Temperatures
from liser_ray.student.network import EmotionClassifier, StudentNetwork, count_parameters
from liser_ray.student.training.batches import Labeled, Unlabeled, UnlabeledSegments
from liser_ray.student.training.config import RunJob, StudentConfig, TrainConfig
from liser_ray.student.training.curves import CurveWriter, plot_curves
from liser_ray.student.training.evaluation import EvaluationSet
from liser_ray.student.training.loop import EpochScore, Training
from liser_ray.student.training.recipes import loss_of
from liser_ray.training.common import same_for_all
from liser_ray.training.memory import keep_freed_memory
from liser_ray.training.precision import able_precision

_STATE_FILE = "state.pt"
_CURVES_FILE = "curves.png"
_TELL_EVERY_S = 1.0


@dataclass(frozen=True, eq=False)
class RunInputs:
    """What all runs of a job share.

    Attributes:
        speech: the labeled set.
        mels: its spectrograms, at each speed that it is heard at.
        folds: by number.
        table: the labels table; None for labels alone.
        recordings: its rows, if they are held in memory.
        teachers: the speech teacher of each fold.
        facts: hashes and counts of the data, packages, commit, for the students' cards.
    """

    speech: LabeledSpeech
    mels: LogMels
    folds: dict[int, Fold]
    table: LabelsTable | None
    recordings: UnlabeledRecordings | None
    teachers: dict[int, SpeechTeacher]
    facts: dict[str, Any]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share a run.

    Attributes:
        device: of this one.
        rank: of this one.
        world_size: how many there are.
        wrap: makes a model one for data-parallel training.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model


def train_run(job: RunJob, inputs: RunInputs, group: ProcessGroup, tell: Tell) -> None:
    """Train a run from its last checkpoint to its end; the first process writes its folder.

    Args:
        job: which run.
        inputs: of all runs.
        group: the processes that share the run.
        tell: told by the first one now and then the run's name, steps done, and a line about the last epoch.

    Raises:
        UserError: the fold can't be trained on.
        FloatingPointError: the loss is not finite.
    """
    if group.device.type == "cpu":
        keep_freed_memory()
    training = make_training(job, inputs, group)
    state = join(job.output, _STATE_FILE)
    if exists(state):
        training.load_state(loaded(read_bytes(state), group.device))
    kept = told = time.monotonic()

    def after_steps(done: int) -> None:
        nonlocal told
        if group.rank == 0 and time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            tell(_run_name(job), done, _line(training))

    with CurveWriter(job.output if group.rank == 0 else "", len(training.history)) as curves:

        def after_epoch(score: EpochScore) -> None:
            nonlocal kept
            due = training.finished or time.monotonic() - kept > job.config.checkpoint_every_s
            if same_for_all(due, group.world_size) and group.rank == 0:
                write_bytes(state, saved(training.state()))
                kept = time.monotonic()
            curves.add(asdict(score))
            if group.rank == 0:
                tell(_run_name(job), training.steps(score.epoch), _line(training))

        training.run(after_epoch, after_steps)
    if group.rank == 0:
        _write_student(job, inputs, training)
        fs, path = filesystem(state)
        fs.delete_file(path)


def make_training(
    job: RunJob, inputs: RunInputs, group: ProcessGroup, validation: EvaluationSet | None = None
) -> Training:
    """The training of a run, not begun.

    Args:
        job: which run.
        inputs: of all runs.
        group: the processes that share the run.
        validation: of `validation_set`, where several runs share it.

    Raises:
        UserError: the fold can't be trained on.
    """
    config, speech, fold = job.config, inputs.speech, inputs.folds[job.fold]
    torch.manual_seed(job.seed)
    n_video = len(inputs.table.video_labels) if inputs.table else 7
    student = StudentNetwork(len(speech.labels), n_video, config.network).to(group.device)
    train = training_recordings(speech, fold, config.train, job.seed)
    if student.classifier.normalisation is not None:
        ends = inputs.mels.ends
        heard = np.arange(len(ends)).reshape(-1, len(speech))[:, train].ravel()  # at each speed
        of_training = (torch.from_numpy(inputs.mels.frames[ends[i - 1] if i else 0 : ends[i]].T) for i in heard)
        student.classifier.normalisation.set_corpus(corpus_statistics(of_training))
    return Training(
        model=group.wrap(student),
        labeled=Labeled(inputs.mels, speech.label_index, len(speech.labels), train),
        unlabeled=_unlabeled(job, inputs, group),
        validation=validation or validation_set(config, inputs, job.fold, group.device),
        config=config.train,
        loss=loss_of(config.recipe, config.loss),
        seed=job.seed,
        device=group.device,
        precision=able_precision(group.device, config.precision),
        rank=group.rank,
        world_size=group.world_size,
    )


def validation_set(config: StudentConfig, inputs: RunInputs, fold: int, device: torch.device) -> EvaluationSet:
    """What the students of a fold are validated on."""
    speech = inputs.speech
    indices = speech.of_speakers(inputs.folds[fold].validation)
    return EvaluationSet(speech, indices, config.network.normalisation, device)


def read_card(uri: str) -> dict[str, Any] | None:
    """The card of a finished run's folder, or None."""
    card = join(uri, CARD_FILE)
    return json.loads(read_bytes(card)) if exists(card) else None


def training_speakers(fold: Fold, held_out: float, seed: int) -> frozenset[str]:
    """The training speakers whom a seed's student hears; so many seeds as there are parts leave each out once.

    Args:
        fold: of the student.
        held_out: share of them to leave out, 0..0.5.
        seed: of the student.
    """
    if not held_out:
        return fold.train
    n_parts = round(1 / held_out)
    order = np.random.default_rng(fold.index).permutation(sorted_speakers(fold.train)).tolist()
    return fold.train - set(order[seed % n_parts :: n_parts])


def training_recordings(speech: LabeledSpeech, fold: Fold, config: TrainConfig, seed: int) -> np.ndarray:
    """The recordings that a student learns from: of each label the same share, int64 [n], ascending.

    Raises:
        UserError: a label has none.
    """
    candidates = speech.of_speakers(training_speakers(fold, config.held_out_speakers, seed))
    rng = np.random.default_rng((seed, fold.index))
    kept = []
    for label, name in enumerate(speech.labels):
        of_label = candidates[speech.label_index[candidates] == label]
        if not len(of_label):
            raise UserError(
                f"{speech.name}, fold {fold.index}: no training recording has the label {name}. More speakers or fewer "
                "labels are needed."
            )
        kept.append(rng.permutation(of_label)[: max(1, round(config.labeled_fraction * len(of_label)))])
    return np.sort(np.concatenate(kept))


def _unlabeled(job: RunJob, inputs: RunInputs, group: ProcessGroup) -> Unlabeled | None:
    table, recordings = inputs.table, inputs.recordings
    if table is None:
        return None
    teacher = inputs.teachers[job.fold]

    def start(done: int, done_here: int) -> UnlabeledSegments:
        if recordings is not None:
            return HeldSegments(recordings, teacher.name, job.seed, done, group.device)
        # Ray takes seconds to import; not for those who hold their table in memory.
        from liser_ray.student.data.stream import StreamedSegments, StreamSource

        settings = SegmentSettings(job.config.network.normalisation, job.config.min_video_valid)
        source = StreamSource(table, teacher, inputs.speech.labels, settings, job.seed)
        return StreamedSegments(source, done_here, group.device, group.rank, group.world_size)

    temperature = teacher.tuning.temperature if teacher.tuning else 1.0
    return Unlabeled(table.n_rows, start, Temperatures(speech=temperature))


def _write_student(job: RunJob, inputs: RunInputs, training: Training) -> None:
    speech, fold, config = inputs.speech, inputs.folds[job.fold], job.config
    classifier: EmotionClassifier = training.student.classifier
    test = EvaluationSet(speech, speech.of_speakers(fold.test), config.network.normalisation, training.device)
    predicted = test.logits(classifier.eval(), training.precision).argmax(axis=1)
    speakers = np.array([speech.speakers[i] for i in speech.of_speakers(fold.test)])
    confusions = {
        speaker: confusion_matrix(test.truth[speakers == speaker], predicted[speakers == speaker], len(speech.labels))
        for speaker in sorted_speakers(speakers.tolist())
    }
    assert training.best is not None
    teacher = inputs.teachers.get(job.fold)
    heard = {speech.speakers[i] for i in training.labeled.train}
    used = {"train": heard, "held_out": fold.train - heard, "validation": fold.validation, "test": fold.test}
    history = [asdict(score) for score in training.history]
    card = {
        "format": FORMAT,
        "recipe": job.name,
        "labeled": speech.name,
        "labels": list(speech.labels),
        "fold": job.fold,
        "seed": job.seed,
        "speakers": {part: list(sorted_speakers(speakers)) for part, speakers in used.items()},
        "n_recordings": {
            "train": len(training.labeled.train),
            "validation": len(training.validation),
            "test": len(test),
            "unlabeled": inputs.table.n_rows if inputs.table else 0,
        },
        "speech_teacher": asdict(teacher) if teacher else None,
        "best_epoch": training.best.epoch,
        "validation_uar": training.best.validation_uar,
        "confusions": {speaker: confusion.tolist() for speaker, confusion in confusions.items()},
        "history": history,
        "parameters": {"training": count_parameters(training.student), "inference": count_parameters(classifier)},
        "front_end": FRONT_END,
        "network": asdict(config.network),
        "facts": inputs.facts,
    }
    weights = {name: value.contiguous().cpu() for name, value in classifier.state_dict().items()}
    write_bytes(join(job.output, WEIGHTS_FILE), safetensors.torch.save(weights))
    write_bytes(
        join(job.output, _CURVES_FILE), plot_curves(history, training.best.epoch, f"{job.name}, {_run_name(job)}")
    )
    write_bytes(join(job.output, CARD_FILE), json.dumps(card, indent=1).encode() + b"\n")  # last: it says "done"


def saved(state: dict[str, Any]) -> bytes:
    """A checkpoint as the bytes of a file, for `loaded`."""
    with tempfile.SpooledTemporaryFile() as buffer:
        torch.save(state, buffer)
        buffer.seek(0)
        return buffer.read()


def loaded(data: bytes, device: torch.device) -> dict[str, Any]:
    """What `saved` has written; tensors, numbers and strings only.

    Raises:
        UserError: there is something else in it, which could run code.
    """
    try:
        return cast("dict[str, Any]", torch.load(io.BytesIO(data), map_location=device, weights_only=True))
    except UnpicklingError as error:
        raise UserError(
            "A checkpoint (.pt) below the output is damaged, or holds more than tensors, which could run code. "
            "Delete it, and that training begins anew."
        ) from error


def _run_name(job: RunJob) -> str:
    return Path(job.output).name


def _line(training: Training) -> str:
    if not training.history:
        return "first epoch"
    last, best = training.history[-1], training.best
    terms = {"sup": last.supervised, "sd": last.speech, "vd": last.video}
    losses = " ".join(f"{name} {value:.3f}" for name, value in terms.items() if value)
    text = f"epoch {last.epoch}/{training.epochs}, {losses}"
    if best is not None and best.validation_uar is not None and last.validation_uar is not None:
        text += f", UAR {last.validation_uar:.2f}"
        if training.config.keep == "best":
            text += f", best {best.validation_uar:.2f} at {best.epoch}"
    return text
