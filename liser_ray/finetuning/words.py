"""Teachers of words: a text classifier of Transformers, all of whose weights are tuned."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from liser_ray.corpora.folds import Fold
from liser_ray.corpora.speech import LabeledRecordings
from liser_ray.corpora.texts import LabeledTexts, labeled_texts
from liser_ray.corpora.utterance import LabeledSet
from liser_ray.finetuning.bundle import base_name
from liser_ray.finetuning.config import NewModel, WordsConfig, WordsTrainSettings
from liser_ray.finetuning.method import Ask, CardText, Method, Shared
from liser_ray.finetuning.scoring import Predictions
from liser_ray.finetuning.split import TeacherSplit
from liser_ray.finetuning.task import RecordingTask
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.student.config import SUPERVISED
from liser_ray.teachers.transformers_folders import quiet, read_classifier, read_tokenizer
from liser_ray.teachers.weights import listed
from liser_ray.teachers.words import WordsTeacher, load_models, tokens
from liser_ray.training.fit import Losses, ProcessGroup, Task
from liser_ray.training.precision import Precision, widened

_BATCH = 64  # texts that are only asked about
_SPECIAL = {name: f"[{name[:3].upper()}]" for name in ("pad_token", "cls_token", "sep_token")}
_LONGEST = 512  # pieces, of a new model


class Classifier(NamedTuple):
    """A text classifier of K labels and what makes its inputs."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


class WordsMethod(Method[WordsConfig]):
    """From a pretrained model, or from nothing."""

    name, takes = "words", "text"

    def __init__(self, config: WordsConfig):
        if config.base and not config.base.startswith("hf://"):
            config = replace(config, base=absolute(config.base))  # Ray Train's workers have folders of their own
        super().__init__(config)

    def check(self, labeled: LabeledSet, folds: Sequence[Fold]) -> None:
        """Of the texts, and of the base model if there is one."""
        labeled_texts(labeled)
        train = self.config.train
        if train.labeled_fraction < 1 and train.labeled_by == "recording":
            raise UserError(
                "Which recordings a share of them are depends on how many there are, and there are fewer with a text "
                "than with sound: a student would learn other labels than this teacher. Give --train.labeled_by "
                "speaker to both."
            )
        if self.config.base:
            tuned_from(self._base_folder, labeled.labels, 0, torch.device("cpu"))

    def read(self, labeled: LabeledSet) -> LabeledTexts:
        """What is said in them."""
        return labeled_texts(labeled)

    def recipe(self) -> dict[str, Any]:
        """Its base, or the new model."""
        if not self.config.base:
            return self._settings()
        return {"base": {"address": self.config.base, "sha256": sha256(self._base_folder)}}

    def inputs(self, recordings: LabeledRecordings, indices: np.ndarray, folds: Sequence[Fold]) -> None:
        """Nothing but the texts."""

    def task(self, shared: Shared, split: TeacherSplit, seed: int, group: ProcessGroup) -> "WordsTask":
        """Of whole texts. A new model's pieces of words are those of the fold's training texts."""
        texts = cast("LabeledTexts", shared.recordings)
        if self.config.base:
            classifier = tuned_from(self._base_folder, texts.labels, seed, group.device)
        else:
            of_training = [texts.texts[i] for i in split.train]
            classifier = new_classifier(of_training, texts.labels, self.config.new_model, seed, group.device)
        return WordsTask(classifier, texts, split, self.config.train, seed, group)

    def write(self, folder: Path, recordings: LabeledRecordings, task: Task) -> None:
        """The model with its labels, and its tokenizer, as Transformers reads them."""
        with quiet():
            for one in cast("WordsTask", task).classifier:
                one.save_pretrained(folder)

    def asked(self, folder: Path, recordings: LabeledRecordings, device: torch.device) -> Ask:
        """About whole texts."""
        texts, name = cast("LabeledTexts", recordings), "teacher"
        teacher = WordsTeacher(name, load_models({name: str(folder)}, device), self.config.precision, embedding=False)

        def ask(indices: np.ndarray) -> Predictions:
            softmaxes = teacher([texts.texts[i] for i in indices])[name].values
            return Predictions.of_wholes(softmaxes, texts.label_index[indices])

        return ask

    def facts(self) -> dict[str, Any]:
        """Its base, or the new model."""
        if not self.config.base:
            return {"base": {"name": "", "revision": None, "sha256": ""}, "settings": self._settings()}
        name, revision = base_name(self.config.base, self._base_folder)
        return {"base": {"name": name, "revision": revision, "sha256": sha256(self._base_folder)}, "settings": {}}

    def text(self, card: Mapping[str, Any]) -> CardText:
        """How it was made of its base."""
        base = card["base"]["name"]
        return CardText(
            title="Teacher of emotion in words",
            loader="transformers",
            task="text-classification",
            how=f"{base}, all weights" if base else "A small BERT without pretraining",
            takes="what is said, as text",
            ways={"recordings": "whole transcripts"},
            warning="It knows the words alone, not how they were said, and nothing of what a person feels.",
            use=_USE,
        )

    @property
    def _base_folder(self) -> Path:
        return fetch(self.config.base, "Give the model with --base, or --base '' for a new small one.")

    def _settings(self) -> dict[str, Any]:
        return {"new_model": asdict(self.config.new_model)}


class WordsTask(RecordingTask):
    """The task of a teacher of words: a classifier on the group's device, to be tuned with texts of similar lengths."""

    def __init__(
        self,
        classifier: Classifier,
        texts: LabeledTexts,
        split: TeacherSplit,
        settings: WordsTrainSettings,
        seed: int,
        group: ProcessGroup,
    ):
        super().__init__(texts, split, settings, seed, group, lengths=np.array([len(one) for one in texts.texts]))
        self.classifier, self.model, self._texts = classifier, classifier.model, texts.texts

    def losses(self, forward: Callable[..., Any], part: np.ndarray) -> Losses:
        """Cross-entropy of recordings, given by their indices, weighted by label if asked for."""
        return Losses({SUPERVISED: self._label_loss(widened(forward(**self._inputs(part)).logits), part)})

    def _parts(self, mine: np.ndarray, batch: np.ndarray, epoch: int) -> list[np.ndarray]:
        return [mine]

    def _logits(self, model: nn.Module, indices: np.ndarray, precision: Precision) -> np.ndarray:
        return self._in_batches(lambda some: model(**self._inputs(some)).logits, indices, _BATCH, precision)

    def _inputs(self, indices: np.ndarray) -> dict[str, Any]:
        return tokens(*self.classifier, [self._texts[i] for i in indices])


def tuned_from(folder: Path, labels: Sequence[str], seed: int, device: torch.device) -> Classifier:
    """A pretrained model under a new head, in place of one that it may have; PyTorch's seed is set.

    Raises:
        UserError: the folder holds no such model, or lacks weights of it or its tokenizer.
    """
    torch.manual_seed(seed)
    auto_class, what = AutoModelForSequenceClassification, "a model of texts"
    model, missing, _ = read_classifier(auto_class, folder, what, device, labels)
    of_base = rf"{re.escape(model.base_model_prefix)}\.(?!pooler\.)"  # a pooler is half a head
    if lacking := sorted(key for key in missing if re.match(of_base, key)):
        raise UserError(f"{folder} lacks weights of the pretrained model itself: {listed(lacking)}.")
    return Classifier(model, read_tokenizer(folder))


def new_classifier(
    texts: Sequence[str], labels: Sequence[str], settings: NewModel, seed: int, device: torch.device
) -> Classifier:
    """A small BERT with random weights of this seed, and pieces of words as they occur in the texts.

    The pieces are byte pairs, in lower case. Those of BERT itself (WordPiece) come out of the library that learns them
    in another order each time (tokenizers 0.23), and so would the weights.
    """
    pieces = Tokenizer(models.BPE())
    pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.pieces,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(texts, trainer)
    ends = [(one, pieces.token_to_id(one)) for one in (_SPECIAL["cls_token"], _SPECIAL["sep_token"])]
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=_LONGEST, **_SPECIAL)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.hidden_size,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=_LONGEST,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    return Classifier(BertForSequenceClassification(config).to(device), tokenizer)  # type: ignore[arg-type]


_USE = """\
```python
from transformers import pipeline

pipeline("text-classification", ".", top_k=None)("I did not expect this at all!")
```
"""
