"""One run: the teacher of a fold, from its recordings to a bundle."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledRecordings
from liser_ray.finetuning.bundle import model_card, upload
from liser_ray.finetuning.method import Method, Shared
from liser_ray.finetuning.scoring import Predictions, fit_temperatures, score, score_held_out
from liser_ray.finetuning.split import TeacherSplit, split_fold
from liser_ray.results.records import confusions_by_speaker, sorted_speakers
from liser_ray.runtime.display import Tell
from liser_ray.storage.addresses import join
from liser_ray.storage.run_record import package_versions
from liser_ray.teachers.bundles import BUNDLE_FILE, FORMAT
from liser_ray.training.facts import machine_facts
from liser_ray.training.fit import ProcessGroup, Task, Training, fit_settings, run_seed
from liser_ray.training.job import train_to_end
from liser_ray.training.precision import able_precision


@dataclass(frozen=True)
class TeacherJob:
    """The teacher of a fold, and the folder or s3:// prefix that its bundle's folder goes into."""

    method: Method[Any]
    fold: Fold
    output: str

    @property
    def name(self) -> str:
        """Such as "fold-0"."""
        return f"fold-{self.fold.index}"

    @property
    def seed(self) -> int:
        """Of all that is drawn for this teacher."""
        return run_seed(self.method.config.train.seed, self.fold.index)

    def split(self, recordings: LabeledRecordings) -> TeacherSplit:
        """Which recordings train, select and test."""
        settings = self.method.config.train
        labeled = settings.labeled_fraction, settings.labeled_by
        return split_fold(recordings, self.fold, settings.selection_share, settings.seed, *labeled)


def train_teacher(job: TeacherJob, shared: Shared, group: ProcessGroup, tell: Tell) -> None:
    """Train a fold's teacher from the last checkpoint to the end; the first process writes the bundle."""
    split = job.split(shared.recordings)
    training = new_training(job, job.method.task(shared, split, job.seed, group), group)
    train_to_end(
        training,
        job.name,
        join(job.output, "training", f"{job.name}.pt"),
        job.method.config.checkpoint_every_s,
        tell,
        write=lambda: write_bundle(job, training, shared.recordings, split),
    )


def new_training(job: TeacherJob, task: Task, group: ProcessGroup) -> Training:
    """The training of a task, not begun."""
    config = job.method.config
    fit = fit_settings(config.train, stages=config.stages, schedule="linear", warm_up=0.1, max_gradient_norm=1.0)
    return Training(task, fit, job.seed, group, able_precision(group.device, config.precision))


def write_bundle(job: TeacherJob, training: Training, recordings: LabeledRecordings, split: TeacherSplit) -> None:
    """Save the model, score it as it will be loaded, and put the bundle in its place."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, job.name)
        folder.mkdir()
        job.method.write(folder, recordings, training.task)
        card = _card(job, training, recordings, split, folder)
        (folder / "README.md").write_text(model_card(card, job.method.text(card)))
        (folder / BUNDLE_FILE).write_text(json.dumps(card, indent=2) + "\n")
        upload(folder, join(job.output, folder.name))


def _confusions(test: Predictions, speakers: Sequence[str]) -> dict[str, list[list[int]]]:
    """Of each test speaker's whole recordings, counts [K, K]."""
    found = confusions_by_speaker(test.truth, test.by_recording.argmax(axis=1), speakers, test.by_recording.shape[1])
    return {speaker: counts.tolist() for speaker, counts in found.items()}


def _card(
    job: TeacherJob, training: Training, recordings: LabeledRecordings, split: TeacherSplit, folder: Path
) -> dict[str, Any]:
    config, device = job.method.config, training.group.device
    ask, facts = job.method.asked(folder, recordings, device), job.method.facts()
    held_out, test = ask(split.selection), ask(split.test)
    temperatures = fit_temperatures(held_out)
    assert training.best is not None
    # From the recordings that were used, not from whom the fold says it should be.
    used = {part: {recordings.speakers[i] for i in getattr(split, part)} for part in ("train", "selection", "test")}
    used["validation"] = set(job.fold.validation)
    return {
        "format": FORMAT,
        "recipe": job.method.name,
        "seed": config.train.seed,
        "labeled": recordings.name,
        "labels": list(recordings.labels),
        "fold": job.fold.index,
        **facts,
        "teachers": {name: one.to_json() for name, one in job.method.taught_by(recordings, job.fold).items()},
        "speakers": {part: list(sorted_speakers(speakers)) for part, speakers in used.items()},
        "labeled_fraction": config.train.labeled_fraction,
        "labeled_by": config.train.labeled_by,
        "held_out_by": split.held_out_by,
        "n_recordings": {"train": len(split.train), "selection": len(split.selection), "test": len(split.test)},
        "best_epoch": training.best.epoch,
        "scores": score(test, temperatures),
        "validation_uar": training.best.validation_uar,
        "confusions": _confusions(test, [recordings.speakers[i] for i in split.test]),
        "held_out": score_held_out(held_out, temperatures, len(used["selection"])),
        "temperatures": {str(held_out.ways[name].hears_s): value for name, value in temperatures.items()},
        "history": [one.flat for one in training.history],
        "settings": facts["settings"] | {"train": asdict(config.train), "precision": config.precision},
        "packages": package_versions("ray", "torch", "transformers", "peft"),
        "machine": machine_facts(device, config.precision),
    }
