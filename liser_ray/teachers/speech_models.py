"""Speech classifiers from disk, whole models and PEFT adapters, and never a weight that no file has set.

Transformers and PEFT only warn when weights are missing and go on with random ones; here each is an error that says
what to do. Adapters of one base model share its tensors: the base is read once and lies in memory once, and each
adapter puts its own LoRA matrices and head on a copy of the module tree whose tensors are the same.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForAudioClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.speech_folders import (
    ADAPTER_CONFIG,
    adapter_labels,
    has_preprocessor,
    is_normalised,
    named_labels,
)
from liser_ray.teachers.weights import why_not_loaded

# Stands for masked frames in training; checkpoints often lack it and inference never reads it.
_UNUSED_IN_INFERENCE = "masked_spec_embed"
_LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError, UnpicklingError)


@dataclass(frozen=True)
class SpeechModel:
    """A classifier ready to run: ``model(input_values=float32 [N, samples]).logits`` is [N, K_S]."""

    model: nn.Module
    labels: tuple[str, ...]
    zero_mean_unit_variance: bool  # whether each window is normalised before it goes in


class Remembering(nn.Module):
    """A module that several models share: asked again for the same tensor, it answers with what it found before.

    The convolutions in front of the transformer are a good third of HuBERT base's work on 0.5-s windows, and adapters
    on the attention leave them as they are: with five adapters they need to run once, not five times.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The module's output for this very tensor."""
        if self._last is None or self._last[0] is not x:
            self._last = x, self.module(x)
        return self._last[1]

    def forget(self) -> None:
        """Let go of the last tensors, so that they don't hold memory between calls."""
        self._last = None


@dataclass
class BaseModel:
    """A classifier as its folder has it, and which of its weights the folder does not have."""

    folder: Path
    model: PreTrainedModel
    missing: frozenset[str]

    @cached_property
    def features(self) -> Remembering:
        """The convolutions that adapters share."""
        return Remembering(self.model.base_model.get_submodule("feature_extractor"))


def load_base(folder: Path, device: torch.device) -> BaseModel:
    """Read a Transformers folder as an audio classifier, in float32, on a device.

    Raises:
        UserError: the folder holds no such model, or one that does not take raw audio.
    """
    try:
        with quiet():
            model, info = AutoModelForAudioClassification.from_pretrained(
                folder,
                output_loading_info=True,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,  # or Transformers asks on the terminal whether to run what is in the folder
            )
    except _LOAD_ERRORS as error:
        raise UserError(
            f"Can't load a speech model from {folder}: {why_not_loaded(error)}. A folder with config.json and "
            "model.safetensors of an audio classifier (HuBERT, WavLM, wav2vec 2.0), as save_pretrained writes it, "
            "is needed."
        ) from error
    if not hasattr(model.config, "conv_stride") or not hasattr(model.base_model, "feature_extractor"):
        raise UserError(
            f"{folder}: a {model.config.model_type} model does not take raw 16 kHz audio. "
            "Use HuBERT, WavLM, wav2vec 2.0 or a relative of theirs."
        )
    missing = frozenset(key for key in info["missing_keys"] if not key.endswith(_UNUSED_IN_INFERENCE))
    return BaseModel(folder, model.to(device).eval(), missing)


def whole_model(base: BaseModel) -> SpeechModel:
    """The classifier of a folder that has a head of its own.

    Raises:
        UserError: weights are missing, or the labels are not named.
    """
    if base.missing:
        raise UserError(
            f"{base.folder} lacks weights of the classifier: {_listed(base.missing)}. A pretrained backbone alone "
            "gives no labels: use a model tuned for emotion, or an adapter folder with this model as its base."
        )
    labels = named_labels(base.model.config.id2label or {}, base.folder / "config.json")
    return SpeechModel(base.model, labels, is_normalised(base.folder))


def adapted_model(base: BaseModel, folder: Path) -> SpeechModel:
    """A base model with the PEFT adapter of a folder; the base's tensors are shared, not copied.

    The head's size comes from the adapter's own head. Its labels come from a ``config.json`` next to the adapter,
    else from ``labels.json`` (a list of names in the order of the outputs), else, if the head is the base's, from it.

    Raises:
        UserError: weights are missing, do not fit the base, or the labels are not named.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder))
        weights = load_peft_weights(str(folder), device="cpu", local_files_only=True)
    except _LOAD_ERRORS as error:
        raise UserError(f"Can't read the adapter in {folder}: {why_not_loaded(error)}") from error
    provided = {key.removeprefix("base_model.model.") for key in weights}
    if unset := base.missing - provided:
        raise UserError(
            f"Neither the adapter in {folder} nor its base {base.folder} has {_listed(unset)}. "
            'Tune and save the adapter with modules_to_save=["projector", "classifier"].'
        )

    model = _with_own_modules(base.model, share=_leaves_base_alone(config))
    for head in ("projector", "classifier"):
        weight = weights.get(f"base_model.model.{head}.weight")
        if weight is not None:
            setattr(model, head, nn.Linear(weight.shape[1], weight.shape[0], device=model.device))
    n_outputs = model.get_parameter("classifier.weight").shape[0]
    try:
        config.inference_mode = True
        with quiet():
            adapted = PeftModel(model, config)
        result: Any = set_peft_model_state_dict(adapted, weights)
    except _LOAD_ERRORS as error:
        raise UserError(
            f"The adapter in {folder} does not fit its base {base.folder}: {why_not_loaded(error)}"
        ) from error
    # Names of an adapter's weights in the model have PEFT's name for the adapter in them.
    unfilled = {key for key in result.missing_keys if "default" in key.split(".")}
    if unfilled or result.unexpected_keys:
        raise UserError(
            f"The adapter in {folder} does not fit its base {base.folder}: "
            f"it lacks [{_listed(unfilled)}] and has no place for [{_listed(result.unexpected_keys)}]."
        )
    if not any("feature_extractor" in key for key in provided):
        model.base_model.feature_extractor = base.features

    labels = adapter_labels(folder)
    if labels is None and "classifier.weight" not in provided:
        labels = named_labels(base.model.config.id2label or {}, base.folder / "config.json")
    if labels is None:
        raise UserError(
            f"The adapter in {folder} does not say what its outputs mean: put a labels.json next to {ADAPTER_CONFIG}, "
            'the label names in the order of the outputs, such as ["neutral", "happy", "sad", "angry"].'
        )
    if len(labels) != n_outputs:
        raise UserError(f"{folder}: {len(labels)} label names ({', '.join(labels)}) for a head of {n_outputs} outputs.")
    normalised_by = folder if has_preprocessor(folder) else base.folder
    return SpeechModel(adapted.eval(), labels, is_normalised(normalised_by))


def _with_own_modules(model: PreTrainedModel, share: bool) -> PreTrainedModel:
    tensors = chain(model.parameters(), model.buffers()) if share else ()
    # deepcopy takes what its memo has as copied already: new modules, the same tensors.
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _leaves_base_alone(config: PeftConfig) -> bool:
    # Tuned biases and SVD-based starts (PiSSA, OLoRA, ...) overwrite base weights in place: those need a real copy.
    bias, start = getattr(config, "bias", "none"), getattr(config, "init_lora_weights", True)
    return bias == "none" and start in (True, False, "gaussian")


def _listed(keys: Iterable[str], most: int = 6) -> str:
    names = sorted(keys)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@contextmanager
def quiet() -> Iterator[None]:
    """Context without the words of Transformers and PEFT that don't concern a user of this package."""
    # Missing weights are checked and reported here; the library's own table would call an adapter's base broken.
    verbosity, progress_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT uses a name that Transformers will drop
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress_bar:
            transformers_logging.enable_progress_bar()
