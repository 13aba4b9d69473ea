"""Teachers of words: from transcripts to softmaxes over emotions, and what their last layers read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.batches import Windows
from liser_ray.teachers.bundles import LoadedModel, find_bundle
from liser_ray.teachers.kinds.words import Options
from liser_ray.teachers.last_layer import LastLayer
from liser_ray.teachers.patterns import expanded
from liser_ray.teachers.teacher import Answer, Teacher
from liser_ray.teachers.transformers_folders import (
    labels_of_model,
    read_classifier,
    read_tokenizer,
    refuse_unlike,
)
from liser_ray.training.precision import Precision, mixed

_HINT = "Give the folder, s3:// or hf:// address of a text classifier: words=words:ADDRESS."
_LONGEST = 512  # tokens, of a model whose configuration does not say how many it can take


@dataclass(frozen=True)
class WordsModel(LoadedModel):
    """A classifier of texts.

    Attributes:
        network: ``network(**inputs).logits`` is [N, K].
        tokenizer: text to its inputs.
    """

    network: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)


class WordsTeacher(Teacher):
    """One or more classifiers of texts on one device: a target each, of the whole span.

    Args:
        name: of the teacher.
        models: at least one, on the device already.
        precision: of the matrix products, where the device has it (`able_precision`).
        batch_size: transcripts per forward pass.
        embedding: whether what the last layer reads is given too.

    Raises:
        UserError: a model has no such layer.
    """

    takes = "text"

    def __init__(
        self,
        name: str,
        models: Sequence[WordsModel],
        precision: Precision,
        batch_size: int = Options.batch_size,
        embedding: bool = Options.embedding,
    ):
        self.models, self.batch_size, self._precision = tuple(models), batch_size, precision
        self._layers = {model.name: _last_layer(model) for model in self.models if embedding}
        sizes = {model.name: self._layers[model.name].size if embedding else 0 for model in self.models}
        self.targets = tuple(one.target(name, sizes[one.name]) for one in self.models)

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> dict[str, Answer]:
        """Softmax, and embedding if asked for, of every model for each of N transcripts, by the target's name."""
        texts = [str(one) for one in windows]
        return {model.name: self._answer(model, texts) for model in self.models}

    def _answer(self, model: WordsModel, texts: list[str]) -> Answer:
        device, layer = model.network.device, self._layers.get(model.name)
        softmaxes = [torch.empty(0, len(model.labels), device=device)]
        vectors = [torch.empty(0, layer.size if layer else 0, dtype=torch.float16, device=device)]
        for start in range(0, len(texts), self.batch_size):
            inputs = tokens(model.network, model.tokenizer, texts[start : start + self.batch_size])
            with mixed(device, self._precision):
                softmaxes.append(model.network(**inputs).logits.float().softmax(-1))
            if layer:
                vectors.append(layer.take().half())
        embedding = torch.cat(vectors).cpu().numpy() if layer else None
        return Answer(torch.cat(softmaxes).cpu().numpy(), embedding)


def load_words_teacher(name: str, options: Options, device: torch.device, precision: Precision) -> WordsTeacher:
    """See `liser_ray.teachers.kinds.words`."""
    models = load_models(expanded(name, options.weights), device, options.labels)
    return WordsTeacher(name, models, precision, options.batch_size, options.embedding)


def load_models(
    addresses: Mapping[str, str], device: torch.device, given: Sequence[str] = ()
) -> tuple[WordsModel, ...]:
    """Models on a device, by the names of their targets.

    Labels that the user has ``given`` must be those that a folder has, if it has any.
    """
    models = []
    for name, address in addresses.items():
        folder = fetch(address, _HINT)
        network = _read(folder, device)
        labels, tokenizer = labels_of_model(network, folder, given), read_tokenizer(folder)
        card = find_bundle(str(folder))
        models.append(WordsModel(name, labels, sha256(folder), network, tokenizer, bundle=card))
    return tuple(models)


def tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, Tensor]:
    """The inputs of a network for N texts, padded to the longest, cut at what it can take, on its device."""
    embeddings = getattr(network.base_model, "embeddings", None)
    skipped = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)  # RoBERTa counts behind it
    positions = getattr(network.config, "max_position_embeddings", _LONGEST)
    longest = min(tokenizer.model_max_length, positions if skipped is None else positions - skipped - 1)
    inputs = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    return dict(inputs.to(network.device))


def _read(folder: Path, device: torch.device) -> PreTrainedModel:
    """The classifier of a folder; UserError if it is no whole one of texts."""
    what = "a text classifier"
    network, missing, unexpected = read_classifier(AutoModelForSequenceClassification, folder, what, device)
    advice = "A pretrained model alone gives no labels: tune it with finetune_words_teacher.py --base."
    refuse_unlike(folder, network, missing, unexpected, advice)
    return network


@torch.inference_mode()
def _last_layer(model: WordsModel) -> LastLayer:
    return LastLayer(
        model.network, tokens(model.network, model.tokenizer, ["words"]), f"The words teacher {model.name}"
    )
