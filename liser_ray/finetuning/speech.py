"""Speech teachers: a pretrained model with LoRA, or left as it is under a new head."""

import json
import posixpath
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from scipy.special import softmax
from transformers import PreTrainedModel

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledRecordings, LabeledSpeech, load_labeled_speech
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.finetuning.bundle import base_name
from liser_ray.finetuning.config import FinetuneConfig
from liser_ray.finetuning.distillation import (
    Said,
    check_lesson,
    heard_and_said,
    lesson,
    lesson_facts,
    loss_of,
    targets_of,
)
from liser_ray.finetuning.head import FrozenSpeech, HeadTask, freeze
from liser_ray.finetuning.heads_beside import drop_heads
from liser_ray.finetuning.method import Ask, CardText, Method, Shared
from liser_ray.finetuning.model import build_model
from liser_ray.finetuning.scoring import Predictions, Way
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.finetuning.task import TeacherTask, score_recordings
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.speech import speech_shares, speech_stretches
from liser_ray.storage.addresses import absolute
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.data.unlabeled import SegmentSettings
from liser_ray.student.training.config import Distilled, TrainConfig
from liser_ray.student.training.recipes import run_name
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.teachers.pooled_head import write_head
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_inputs import PREPROCESSORS, read_preparation
from liser_ray.teachers.speech_models import SpeechModel, load_base, load_models
from liser_ray.teachers.targets import Target
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.fit import ProcessGroup, Task
from liser_ray.training.precision import Precision

HEARINGS = {"windows": WINDOW_S, "windows_of_3s": 3.0}
"""Ways of hearing a recording's 0.5-s windows, and the seconds that are heard for each."""


class SpeechMethod(Method[FinetuneConfig]):
    """What both have in common."""

    def __init__(self, config: FinetuneConfig):
        # Ray Train's workers have folders of their own.
        names = ["base", "unlabeled", "distil_labeled", *["recipe"] * config.recipe.endswith((".yaml", ".yml"))]
        given = {name: getattr(config, name) for name in names}
        places = {name: absolute(uri) for name, uri in given.items() if uri and not uri.startswith("hf://")}
        config = replace(config, **cast("dict[str, Any]", places))
        super().__init__(config)
        tune, is_first = config.train, config.stages == 2
        distilled: Distilled = "unlabeled" if is_first else "labeled"
        given = {name: getattr(tune, name) for name in ("labeled_fraction", "labeled_by", "placebo")}
        train = TrainConfig(**given, two_stage=is_first)
        recipe = run_name(config.recipe, config.loss, train, distilled=distilled)
        kind = "+head" * config.head_only + "+projections" * bool(config.projections)
        self.name = f"{recipe}+{posixpath.basename(config.base.partition('@')[0].rstrip('/'))}{kind}"

    @property
    def base_folder(self) -> Path:
        """Where the base model lies on this machine."""
        return fetch(self.config.base, "Give the speech model with --base.")

    def n_unlabeled(self) -> int:
        """The labeled rows of a table."""
        return open_labels_table(self.config.unlabeled).n_rows if self.config.stages == 2 else 0

    def read(self, labeled: LabeledSet) -> LabeledSpeech:
        """Their sound."""
        return load_labeled_speech(labeled)

    def recipe(self) -> dict[str, Any]:
        """Its base, and LoRA if it is that."""
        base = {"address": self.config.base, "sha256": sha256(self.base_folder)}
        return {"base": base, "lora": None} | self._settings() | lesson_facts(self.config)

    def write(self, folder: Path, recordings: LabeledRecordings, task: Task) -> None:
        """The trained part; labels and preprocessor as Transformers reads them. Heads beside the classifier go."""
        drop_heads(task.model)
        self._write_trained(folder, task, *self._base_name())
        (folder / "labels.json").write_text(json.dumps(list(recordings.labels)))
        (folder / PREPROCESSORS[0]).write_text(cast("TeacherTask | HeadTask", task).prepare.to_json())

    def asked(self, folder: Path, recordings: LabeledRecordings, device: torch.device) -> Ask:
        """In all ways."""
        (model,) = load_models({"teacher": str(folder)}, device)
        speech, precision = cast("LabeledSpeech", recordings), self.config.precision
        return lambda indices: predict(model, speech, indices, device, precision)

    def taught_by(self, recordings: LabeledRecordings, fold: Fold) -> dict[str, Target]:
        """Those of its recipe."""
        return targets_of(self.config, recordings.name, recordings.labels, fold)

    def facts(self) -> dict[str, Any]:
        """Its base, and LoRA if it is that."""
        name, revision = self._base_name()
        base = {"name": name, "revision": revision, "sha256": sha256(self.base_folder)}
        return {"base": base, "settings": self._settings() | lesson_facts(self.config)}

    def text(self, card: Mapping[str, Any]) -> CardText:
        """How it was made of its base."""
        base, config = card["base"]["name"], self.config
        whole = config.head_only or bool(config.projections)  # PEFT knows no such head
        tuned = f"with LoRA (rank {config.lora.rank}) and a new head"
        return CardText(
            title="Speech emotion teacher",
            loader="liser-ray" if whole else "peft",
            task="audio-classification",
            how=f"{base} {'as it is, with a head on all its layers' if config.head_only else tuned}",
            takes="16 kHz mono",
            ways={
                "recordings": "whole recordings",
                "windows_of_3s": "mean of 0.5-s windows, each heard with 3 s",
                "windows": "mean of 0.5-s windows",
            },
            warning="Acted speech teaches acted emotions: on spontaneous speech expect much less. It knows nothing of "
            "what a person feels.",
            use=_HEAD_USE if whole else _LORA_USE.format(base=base),
        )

    def _base_name(self) -> tuple[str, str | None]:
        return base_name(self.config.base, self.base_folder)

    def _settings(self) -> dict[str, Any]:
        return {} if self.config.head_only else {"lora": asdict(self.config.lora)}

    @abstractmethod
    def _write_trained(self, folder: Path, task: Task, base: str, revision: str | None) -> None: ...


class LoraMethod(SpeechMethod):
    """Low-rank updates of the attention, and a new head."""

    def check(self, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
        """Of the base model with its updates, and of what teachers say."""
        check_lesson(self.config, labeled, folds)
        self._model(len(labeled.labels), self.config.train.seed, torch.device("cpu"))

    def inputs(
        self, recordings: LabeledRecordings, indices: np.ndarray, folds: Sequence[Fold]
    ) -> tuple[LabeledSpeech, Said | None]:
        """The recordings with the unlabeled ones, and what teachers say of them."""
        return heard_and_said(self.config, cast("LabeledSpeech", recordings), folds)

    def task(self, shared: Shared, split: TeacherSplit, seed: int, group: ProcessGroup) -> TeacherTask:
        """Of pieces of recordings."""
        config, (speech, said) = self.config, shared.inputs
        taught = lesson(config, said, split.fold)
        model = self._model(len(speech.labels), seed, group.device, taught.heads if taught else {})
        prepare = read_preparation(self.base_folder, cast("PreTrainedModel", model.get_base_model()))
        smoothing = loss_of(config).label_smoothing
        return TeacherTask(model, speech, split, config.train, prepare, seed, group, taught, smoothing)

    def _model(
        self, n_labels: int, seed: int, device: torch.device, heads: Mapping[str, int] | None = None
    ) -> PeftModel:
        config = self.config
        return build_model(self.base_folder, n_labels, config.lora, seed, device, config.projections, heads)

    def _write_trained(self, folder: Path, task: Task, base: str, revision: str | None) -> None:
        model = cast("PeftModel", task.model)
        settings = model.peft_config["default"]
        settings.base_model_name_or_path, settings.revision = base, revision
        model.save_pretrained(str(folder))


class HeadMethod(SpeechMethod):
    """A head on all layers of the base, which hears each recording once for all folds."""

    def check(self, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
        """Of the base model, and of what teachers say."""
        check_lesson(self.config, labeled, folds)
        base = load_base(self.base_folder, torch.device("cpu"))
        base.refuse_missing()
        read_preparation(self.base_folder, base.model)

    def inputs(
        self, recordings: LabeledRecordings, indices: np.ndarray, folds: Sequence[Fold]
    ) -> tuple[FrozenSpeech, Said | None]:
        """What the base makes of the recordings, and what teachers say of them."""
        config = self.config
        speech, said = heard_and_said(config, cast("LabeledSpeech", recordings), folds)
        heard = np.append(indices, np.arange(len(recordings), len(speech)))
        return freeze(speech, heard, self.base_folder, config.precision, config.train.copies), said

    def task(self, shared: Shared, split: TeacherSplit, seed: int, group: ProcessGroup) -> HeadTask:
        """Of pieces of recordings, as the base has heard them."""
        config, (frozen, said) = self.config, shared.inputs
        taught, smoothing, sizes = lesson(config, said, split.fold), loss_of(config).label_smoothing, config.projections
        given = frozen, split, config.train, seed, group
        return HeadTask(*given, lesson=taught, label_smoothing=smoothing, projections=sizes)

    def _write_trained(self, folder: Path, task: Task, base: str, revision: str | None) -> None:
        write_head(folder, cast("HeadTask", task).model, base, revision)


_RECORDINGS_AT_ONCE = 64  # windows that hear 3 s around them are six times their sound


def predict(
    model: SpeechModel, speech: LabeledSpeech, indices: np.ndarray, device: torch.device, precision: Precision
) -> Predictions:
    """Ask a teacher about recordings, whole and in all ways of hearing their windows."""
    logits = score_recordings(model.network, speech, indices, model.prepare, device, precision)
    truth, ways = speech.label_index[indices], {}
    for name, hears_s in HEARINGS.items():
        teacher = SpeechTeacher("teacher", [model], device, precision, hears_s=hears_s)
        counts: list[int] = []
        answers = []
        for first in range(0, len(indices), _RECORDINGS_AT_ONCE):
            some = indices[first : first + _RECORDINGS_AT_ONCE]
            windows = [spoken_windows(speech.waveform(i), hears_s) for i in some]
            counts += map(len, windows)
            answers.append(teacher([window for one in windows for window in one])[model.name].values)
        found = np.concatenate(answers)
        means = np.stack([one.mean(axis=0) for one in np.split(found, np.cumsum(counts)[:-1])])
        ways[name] = Way(hears_s, means, np.repeat(truth, counts), found)
    return Predictions(truth, softmax(logits, axis=1).astype(np.float32), ways)


def spoken_windows(pcm: np.ndarray, hears_s: float) -> Sequence[np.ndarray]:
    """What is heard of a recording int16 [n] for its windows that a student counts: half speech and more, if any is."""
    windows, start_s = sound_windows(pcm, WINDOW_S, WINDOW_S, hears_s)
    starts = np.round(start_s * SAMPLE_RATE_HZ).astype(np.int64)
    spoken = speech_shares(speech_stretches(pcm), starts, round(WINDOW_S * SAMPLE_RATE_HZ)) >= SegmentSettings.min_valid
    return [window for window, counts in zip(windows, spoken, strict=True) if counts or not spoken.any()]


_LORA_USE = """\
```python
import json
from peft import PeftModel
from transformers import AutoModelForAudioClassification

labels = json.load(open("labels.json"))
base = AutoModelForAudioClassification.from_pretrained("{base}", num_labels=len(labels), ignore_mismatched_sizes=True)
model = PeftModel.from_pretrained(base, ".").eval()
```
"""
_HEAD_USE = """\
```python
import torch
from liser_ray.teachers.kinds.speech import Options, load

teacher = load("speech", Options("."), torch.device("cpu"), "float32")
softmax = teacher(windows)["speech"].values  # of windows float32 [N, 8000], 16 kHz, -1..1
```
"""
