"""What runs in a Ray Train worker: the training of one fold's teacher, and its bundle when it is done."""

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import ray
import ray.train
import ray.train.torch
import torch
from peft import PeftModel

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.storage.run_record import package_versions
from liser_ray.teachers.bundles import BUNDLE_FILE, FORMAT
from liser_ray.teachers.finetuning import bundle
from liser_ray.teachers.finetuning.config import FoldJob
from liser_ray.teachers.finetuning.model import build_model
from liser_ray.teachers.finetuning.scoring import predict, score
from liser_ray.teachers.finetuning.split import TeacherSplit, split_fold
from liser_ray.teachers.finetuning.training import EpochScore, Training
from liser_ray.teachers.speech import load_speech_teachers
from liser_ray.teachers.speech_models import is_normalised
from liser_ray.teachers.temperature import fit_temperature, logarithms
from liser_ray.teachers.weights import load_plain
from liser_ray.training.common import same_for_all

_STATE = "state.pt"


def train_worker(arguments: dict[str, FoldJob]) -> str:
    """Train a fold with the other workers of its group; rank 0 writes the bundle.

    Args:
        arguments: "job".

    Returns:
        "" or, if the training can't succeed, why: an exception would make Ray Train try again.
    """
    job = arguments["job"]
    try:
        _train(job, job.speech if isinstance(job.speech, LabeledSpeech) else cast("LabeledSpeech", ray.get(job.speech)))
    except (UserError, FloatingPointError) as error:
        return str(error)
    return ""


def _train(job: FoldJob, speech: LabeledSpeech) -> None:
    config = job.config
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    assert isinstance(device, torch.device)
    base_folder = fetch(config.base)
    model = build_model(base_folder, len(speech.labels), config.lora, config.train.seed, device)
    training = Training(
        model=ray.train.torch.prepare_model(model),
        speech=speech,
        split=split_fold(speech, job.fold, config.train.selection_share, config.train.seed),
        settings=config.train,
        normalised=is_normalised(base_folder),
        device=device,
        precision=config.precision,
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            training.load_state(load_plain(Path(folder, _STATE)))

    checkpointed = time.monotonic()

    def after_epoch(epoch: EpochScore) -> None:
        nonlocal checkpointed
        if training.rank == 0:
            job.tell(f"fold {job.fold.index}", _done(training), _line(training))
        if same_for_all(time.monotonic() - checkpointed >= config.checkpoint_every_s, training.world_size):
            _report(training, epoch)
            checkpointed = time.monotonic()

    training.run(after_epoch)
    if training.rank == 0:
        write_bundle(job, training, base_folder)


def _report(training: Training, epoch: EpochScore) -> None:
    """Keep a checkpoint; every worker of the group takes part."""
    if training.rank:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(training.state(), Path(folder, _STATE))
        ray.train.report(asdict(epoch), checkpoint=ray.train.Checkpoint.from_directory(folder))


def _done(training: Training) -> int:
    """Epochs that need no more work; all of them after an early stop."""
    return training.settings.epochs if training.finished else len(training.history)


def _line(training: Training) -> str:
    last, best = training.history[-1], training.best
    assert best is not None
    uars = f"UAR {last.selection_uar:.2f}, best {best.selection_uar:.2f} at {best.epoch}"
    return f"epoch {last.epoch}, loss {last.train_loss:.2f}, {uars}" + (", done" if training.finished else "")


def write_bundle(job: FoldJob, training: Training, base_folder: Path) -> None:
    """Save the adapter, score it as it will be loaded, and put the bundle in its place."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, f"fold-{job.fold.index}")
        labels = training.speech.labels
        bundle.write_adapter(folder, cast("PeftModel", training.plain_model), job.config.base, base_folder, labels)
        bundle.write_preprocessor(folder, training.normalised)
        card = _card(job, training, base_folder, folder)
        (folder / "README.md").write_text(bundle.model_card(card))
        (folder / BUNDLE_FILE).write_text(json.dumps(card, indent=2) + "\n")
        bundle.upload(folder, join(job.output, folder.name))


def _card(job: FoldJob, training: Training, base_folder: Path, adapter: Path) -> dict[str, Any]:
    config, split, speech = job.config, training.split, training.speech
    teachers = load_speech_teachers([f"teacher={adapter}"], str(training.device), config.precision)
    predicted = {
        part: predict(teachers, speech, indices, training.device, config.precision)
        for part, indices in (("selection", split.selection), ("test", split.test))
    }
    held_out = predicted["selection"]
    temperature = fit_temperature(logarithms(held_out.windows), held_out.window_truth)
    name, revision = bundle.base_name(config.base, base_folder)
    assert training.best is not None
    return {
        "format": FORMAT,
        "labeled": speech.name,
        "labels": list(speech.labels),
        "fold": job.fold.index,
        "base": {"name": name, "revision": revision, "sha256": sha256(base_folder)},
        "speakers": _speakers(job.fold, speech, split),
        "held_out_by": split.held_out_by,
        "n_recordings": {"train": len(split.train), "selection": len(split.selection), "test": len(split.test)},
        "best_epoch": training.best.epoch,
        "scores": score(predicted["test"], temperature),
        "temperature": temperature,
        "history": [asdict(epoch) for epoch in training.history],
        "settings": {"lora": asdict(config.lora), "train": asdict(config.train), "precision": config.precision},
        "packages": package_versions("ray", "torch", "transformers", "peft"),
    }


def _speakers(fold: Fold, speech: LabeledSpeech, split: TeacherSplit) -> dict[str, list[str]]:
    """Speakers as they were used, from the recordings that were."""
    of = {
        "train": {speech.speakers[i] for i in split.train},
        "selection": {speech.speakers[i] for i in split.selection},
        "validation": set(fold.validation),
        "test": {speech.speakers[i] for i in split.test},
    }
    return {part: sorted(names, key=lambda name: (len(name), name)) for part, names in of.items()}
