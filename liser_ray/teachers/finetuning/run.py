"""One run: the teacher of a fold, from its recordings to a bundle."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.results.records import sorted_speakers
from liser_ray.runtime.display import Tell
from liser_ray.storage.addresses import join
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.storage.run_record import package_versions
from liser_ray.teachers.bundles import BUNDLE_FILE, FORMAT
from liser_ray.teachers.finetuning import bundle
from liser_ray.teachers.finetuning.config import FinetuneConfig
from liser_ray.teachers.finetuning.model import build_model
from liser_ray.teachers.finetuning.scoring import predict, score
from liser_ray.teachers.finetuning.split import TeacherSplit, split_fold
from liser_ray.teachers.finetuning.task import TeacherTask
from liser_ray.teachers.kinds.speech import Options
from liser_ray.teachers.speech import load_speech_teacher
from liser_ray.teachers.speech_models import is_normalised
from liser_ray.teachers.temperature import fit_temperature, logarithms
from liser_ray.training.facts import machine_facts
from liser_ray.training.fit import FitSettings, ProcessGroup, Training, run_seed
from liser_ray.training.job import train_to_end
from liser_ray.training.precision import able_precision


@dataclass(frozen=True)
class TeacherJob:
    """The teacher of a fold, and the folder or s3:// prefix that its bundle's folder goes into."""

    config: FinetuneConfig
    fold: Fold
    output: str

    @property
    def name(self) -> str:
        """Such as "fold-0"."""
        return f"fold-{self.fold.index}"


def train_run(job: TeacherJob, speech: LabeledSpeech, group: ProcessGroup, tell: Tell) -> None:
    """Train a teacher from its last checkpoint to its end; the first process writes the bundle."""
    base_folder = fetch(job.config.base)
    training = make_training(job, speech, base_folder, group)
    train_to_end(
        training,
        job.name,
        join(job.output, "training", f"{job.name}.pt"),
        job.config.checkpoint_every_s,
        tell,
        write=lambda: write_bundle(job, training, base_folder),
    )


def make_training(
    job: TeacherJob, speech: LabeledSpeech, base_folder: Path, group: ProcessGroup, split: TeacherSplit | None = None
) -> Training:
    """The training of a teacher, not begun; ``split`` in place of the fold's own."""
    config, settings, seed = job.config, job.config.train, run_seed(job.config.train.seed, job.fold.index)
    task = TeacherTask(
        build_model(base_folder, len(speech.labels), config.lora, seed, group.device),
        speech,
        split or split_fold(speech, job.fold, settings.selection_share, settings.seed),
        settings,
        is_normalised(base_folder),
        seed,
        group,
    )
    fit = FitSettings(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        weight_decay=settings.weight_decay,
        schedule="linear",
        warm_up=0.1,
        max_gradient_norm=1.0,
    )
    return Training(task, fit, seed, group, able_precision(group.device, config.precision))


def write_bundle(job: TeacherJob, training: Training, base_folder: Path) -> None:
    """Save the adapter, score it as it will be loaded, and put the bundle in its place."""
    task = cast("TeacherTask", training.task)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, job.name)
        labels, normalised = task.speech.labels, task.normalised
        bundle.write_adapter(folder, task.model, job.config.base, base_folder, labels, normalised)
        card = _card(job, training, base_folder, folder)
        (folder / "README.md").write_text(bundle.model_card(card))
        (folder / BUNDLE_FILE).write_text(json.dumps(card, indent=2) + "\n")
        bundle.upload(folder, join(job.output, folder.name))


def _card(job: TeacherJob, training: Training, base_folder: Path, adapter: Path) -> dict[str, Any]:
    config, device, task = job.config, training.group.device, cast("TeacherTask", training.task)
    speech, split = task.speech, task.split
    teacher = load_speech_teacher("teacher", Options(str(adapter)), device, config.precision)
    held_out, test = (
        predict(teacher, speech, indices, device, config.precision) for indices in (split.selection, split.test)
    )
    temperature = fit_temperature(logarithms(held_out.windows), held_out.window_truth)
    name, revision = bundle.base_name(config.base, base_folder)
    assert training.best is not None
    # From the recordings that were used, not from whom the fold says it should be.
    used = {part: {speech.speakers[i] for i in getattr(split, part)} for part in ("train", "selection", "test")}
    used["validation"] = set(job.fold.validation)
    return {
        "format": FORMAT,
        "labeled": speech.name,
        "labels": list(speech.labels),
        "fold": job.fold.index,
        "base": {"name": name, "revision": revision, "sha256": sha256(base_folder)},
        "speakers": {part: list(sorted_speakers(speakers)) for part, speakers in used.items()},
        "held_out_by": split.held_out_by,
        "n_recordings": {"train": len(split.train), "selection": len(split.selection), "test": len(split.test)},
        "best_epoch": training.best.epoch,
        "scores": score(test, temperature),
        "temperature": temperature,
        "history": [one.flat for one in training.history],
        "settings": {"lora": asdict(config.lora), "train": asdict(config.train), "precision": config.precision},
        "packages": package_versions("ray", "torch", "transformers", "peft"),
        "machine": machine_facts(device, config.precision),
    }
