"""One run: the teacher of a fold, from its recordings to a bundle."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.finetuning import bundle
from liser_ray.finetuning.config import FinetuneConfig
from liser_ray.finetuning.head import FrozenSpeech, HeadTask
from liser_ray.finetuning.model import build_model
from liser_ray.finetuning.scoring import HEARINGS, predict, score, score_held_out
from liser_ray.finetuning.split import TeacherSplit, split_fold
from liser_ray.finetuning.task import TeacherTask
from liser_ray.results.records import sorted_speakers
from liser_ray.runtime.display import Tell
from liser_ray.storage.addresses import join
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.storage.run_record import package_versions
from liser_ray.teachers.bundles import BUNDLE_FILE, FORMAT
from liser_ray.teachers.pooled_head import PooledHead, write_head
from liser_ray.teachers.speech_inputs import read_preparation
from liser_ray.teachers.speech_models import load_models
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


def train_lora(job: TeacherJob, speech: LabeledSpeech, group: ProcessGroup, tell: Tell) -> None:
    """Train a fold's updates and head from the last checkpoint to the end; the first process writes the bundle."""
    _train(job, make_training(job, speech, fetch(job.config.base), group), tell)


def train_head(job: TeacherJob, frozen: FrozenSpeech, group: ProcessGroup, tell: Tell) -> None:
    """Train a fold's head on a frozen base, likewise."""
    settings, seed = job.config.train, run_seed(job.config.train.seed, job.fold.index)
    split = split_fold(frozen.speech, job.fold, settings.selection_share, settings.seed, settings.labeled_fraction)
    _train(job, new_training(job, HeadTask(frozen, split, settings, seed, group), group), tell)


def _train(job: TeacherJob, training: Training, tell: Tell) -> None:
    train_to_end(
        training,
        job.name,
        join(job.output, "training", f"{job.name}.pt"),
        job.config.checkpoint_every_s,
        tell,
        write=lambda: write_bundle(job, training),
    )


def make_training(
    job: TeacherJob, speech: LabeledSpeech, base_folder: Path, group: ProcessGroup, split: TeacherSplit | None = None
) -> Training:
    """LoRA's training, not begun; ``split`` in place of the fold's own."""
    config, settings, seed = job.config, job.config.train, run_seed(job.config.train.seed, job.fold.index)
    model = build_model(base_folder, len(speech.labels), config.lora, seed, group.device)
    split = split or split_fold(speech, job.fold, settings.selection_share, settings.seed, settings.labeled_fraction)
    prepare = read_preparation(base_folder, cast("PreTrainedModel", model.get_base_model()))
    return new_training(job, TeacherTask(model, speech, split, settings, prepare, seed, group), group)


def new_training(job: TeacherJob, task: TeacherTask | HeadTask, group: ProcessGroup) -> Training:
    """The training of a task, not begun."""
    settings = job.config.train
    fit = FitSettings(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        weight_decay=settings.weight_decay,
        schedule="linear",
        warm_up=0.1,
        max_gradient_norm=1.0,
    )
    seed = run_seed(settings.seed, job.fold.index)
    return Training(task, fit, seed, group, able_precision(group.device, job.config.precision))


def write_bundle(job: TeacherJob, training: Training) -> None:
    """Save the adapter or the head, score it as it will be loaded, and put the bundle in its place."""
    task, base_folder = cast("TeacherTask | HeadTask", training.task), fetch(job.config.base)
    base, revision = bundle.base_name(job.config.base, base_folder)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, job.name)
        folder.mkdir()
        if isinstance(task.model, PooledHead):
            write_head(folder, task.model, base, revision)
        else:
            bundle.write_adapter(folder, task.model, base, revision)
        bundle.write_usage(folder, task.speech.labels, task.prepare)
        card = _card(job, training, folder)
        (folder / "README.md").write_text(bundle.model_card(card))
        (folder / BUNDLE_FILE).write_text(json.dumps(card, indent=2) + "\n")
        bundle.upload(folder, join(job.output, folder.name))


def _card(job: TeacherJob, training: Training, folder: Path) -> dict[str, Any]:
    config, device = job.config, training.group.device
    task, base_folder = cast("TeacherTask | HeadTask", training.task), fetch(config.base)
    speech, split = task.speech, task.split
    (model,) = load_models({"teacher": str(folder)}, device)
    held_out, test = (
        predict(model, speech, indices, device, config.precision) for indices in (split.selection, split.test)
    )
    temperatures = {
        name: fit_temperature(logarithms(windows), held_out.window_truth) for name, windows in held_out.windows.items()
    }
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
        "labeled_fraction": config.train.labeled_fraction,
        "held_out_by": split.held_out_by,
        "n_recordings": {"train": len(split.train), "selection": len(split.selection), "test": len(split.test)},
        "best_epoch": training.best.epoch,
        "scores": score(test, temperatures),
        "held_out": score_held_out(held_out, temperatures),
        "temperatures": {str(HEARINGS[name]): temperature for name, temperature in temperatures.items()},
        "history": [one.flat for one in training.history],
        "settings": ({} if config.head_only else {"lora": asdict(config.lora)})
        | {"train": asdict(config.train), "precision": config.precision},
        "packages": package_versions("ray", "torch", "transformers", "peft"),
        "machine": machine_facts(device, config.precision),
    }
