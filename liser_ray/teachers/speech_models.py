"""Speech classifiers from disk, whole models and PEFT adapters, and never a weight that no file has set.

Adapters of one base model share its tensors: the base is read once and lies in memory once, and each adapter puts its
own LoRA matrices and head on a copy of the module tree whose tensors are the same.
"""

import copy
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedModel

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.bundles import find_bundle
from liser_ray.teachers.labels import agreed_labels, labels_of_config
from liser_ray.teachers.targets import TunedOn
from liser_ray.teachers.transformers_folders import FROM_DISK, LOAD_ERRORS, quiet, read_classifier
from liser_ray.teachers.weights import listed, why_not_loaded

ADAPTER_CONFIG = "adapter_config.json"
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
# Stands for masked frames in training; checkpoints often lack it and inference never reads it.
_UNUSED_IN_INFERENCE = "masked_spec_embed"

_HINT = "Give the folder, s3:// or hf:// address of a speech model or adapter: speech=speech:ADDRESS."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechModel:
    """A classifier of 0.5-s windows, ready to run.

    Attributes:
        name: of its target.
        labels: the K_S label names, in the order of the outputs.
        sha256: of its folder; for an adapter, of the hashes of its own and its base's folder, one after the other.
        network: ``network(input_values=float32 [N, samples]).logits`` is [N, K_S].
        zero_mean_unit_variance: whether each window is normalised before it goes in.
        tuned_on: whom it has heard, if this package trained it.
        temperature: at which it is as sure as it is right, if this package trained it; else 1.
    """

    name: str
    labels: tuple[str, ...]
    sha256: str
    network: nn.Module = field(repr=False)
    zero_mean_unit_variance: bool = True
    tuned_on: TunedOn | None = None
    temperature: float = 1.0


class Remembering(nn.Module):
    """A module that several models share: asked again for the same tensor, it answers with what it found before.

    The convolutions are a good third of HuBERT base's work on 0.5-s windows: they run once for all adapters on it.
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

    @cached_property
    def sha256(self) -> str:
        """Of the folder."""
        return sha256(self.folder)


def load_base(folder: Path, device: torch.device) -> BaseModel:
    """Read a Transformers folder as an audio classifier; UserError if it holds none that takes raw audio."""
    model, missing = read_classifier(AutoModelForAudioClassification, folder, "a speech model", device)
    if not hasattr(model.config, "conv_stride") or not hasattr(model.base_model, "feature_extractor"):
        raise UserError(
            f"{folder}: a {model.config.model_type} model does not take raw 16 kHz audio. "
            "Use HuBERT, WavLM, wav2vec 2.0 or a relative of theirs."
        )
    needed = frozenset(key for key in missing if not key.endswith(_UNUSED_IN_INFERENCE))
    return BaseModel(folder, model, needed)


def load_models(
    addresses: Mapping[str, str], device: torch.device, given: Sequence[str] = ()
) -> tuple[SpeechModel, ...]:
    """Models on a device, by the names of their targets; adapters of one base share its weights.

    Labels that the user has ``given`` must be those that a folder has, if it has any.
    """
    bases: dict[Path, BaseModel] = {}
    models = []
    for name, address in addresses.items():
        folder = fetch(address, _HINT)
        is_adapter = (folder / ADAPTER_CONFIG).is_file()
        base_folder = fetch(base_address(folder)).resolve() if is_adapter else folder
        base = bases.get(base_folder) or load_base(base_folder, device)
        if is_adapter:
            bases[base_folder] = base
            network, labels = _adapted(base, folder, given)
            digest = hashlib.sha256((sha256(folder) + base.sha256).encode()).hexdigest()
        else:
            network, labels = _whole(base, given)
            digest = base.sha256
        preprocessor = folder if any((folder / file).is_file() for file in _PREPROCESSORS) else base_folder
        bundle = find_bundle(str(folder))
        tuned_on, temperature = (bundle.tuned_on, bundle.temperature) if bundle else (None, 1.0)
        normalised = is_normalised(preprocessor)
        models.append(SpeechModel(name, labels, digest, network, normalised, tuned_on, temperature))
    return tuple(models)


def _whole(base: BaseModel, given: Sequence[str]) -> tuple[nn.Module, tuple[str, ...]]:
    """The classifier of a folder that has a head of its own, and its labels."""
    if base.missing:
        raise UserError(
            f"{base.folder} lacks weights of the classifier: {listed(sorted(base.missing))}. A pretrained backbone "
            "alone gives no labels: use a model tuned for emotion, or an adapter folder with this model as its base."
        )
    return base.model, _labels_of_base(base, given)


def _labels_of_base(base: BaseModel, given: Sequence[str]) -> tuple[str, ...]:
    config, path = base.model.config, base.folder / "config.json"
    hint = f'set "id2label": {{"0": "neutral", "1": "happy", ...}} in {path}'
    return agreed_labels(config.num_labels or 0, str(base.folder), labels_of_config(config.id2label), given, hint)


def _adapted(base: BaseModel, folder: Path, given: Sequence[str]) -> tuple[nn.Module, tuple[str, ...]]:
    """A base model with the PEFT adapter of a folder, and its labels; the base's tensors are shared, not copied.

    The head's size comes from the adapter's own head. Its labels come from a ``config.json`` next to the adapter,
    else from ``labels.json`` (a list of names in the order of the outputs), else, if the head is the base's, from it.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder))
        weights = load_peft_weights(str(folder), device="cpu", local_files_only=True)
    except LOAD_ERRORS as error:
        raise UserError(f"Can't read the adapter in {folder}: {why_not_loaded(error)}") from error
    provided = {key.removeprefix("base_model.model.") for key in weights}
    if unset := base.missing - provided:
        raise UserError(
            f"Neither the adapter in {folder} nor its base {base.folder} has {listed(sorted(unset))}. "
            'Tune and save the adapter with modules_to_save=["projector", "classifier"].'
        )

    # Tuned biases and SVD-based starts (PiSSA, OLoRA, ...) overwrite base weights in place: those need a real copy.
    start = getattr(config, "init_lora_weights", True)
    shares = getattr(config, "bias", "none") == "none" and start in (True, False, "gaussian")
    tensors = chain(base.model.parameters(), base.model.buffers()) if shares else ()
    # deepcopy takes what its memo has as copied already: new modules, the same tensors.
    model = copy.deepcopy(base.model, {id(tensor): tensor for tensor in tensors})
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
    except LOAD_ERRORS as error:
        raise UserError(
            f"The adapter in {folder} does not fit its base {base.folder}: {why_not_loaded(error)}"
        ) from error
    # Names of an adapter's weights in the model have PEFT's name for the adapter in them.
    unfilled = {key for key in result.missing_keys if "default" in key.split(".")}
    if unfilled or result.unexpected_keys:
        raise UserError(
            f"The adapter in {folder} does not fit its base {base.folder}: it lacks [{listed(sorted(unfilled))}] "
            f"and has no place for [{listed(sorted(result.unexpected_keys))}]."
        )
    if not any("feature_extractor" in key for key in provided):
        model.base_model.feature_extractor = base.features
    carried = _carried_labels(folder)
    if carried is None and "classifier.weight" not in provided:
        return adapted.eval(), _labels_of_base(base, given)
    hint = f'put a labels.json next to {ADAPTER_CONFIG}, such as ["neutral", "happy", "sad", "angry"]'
    return adapted.eval(), agreed_labels(n_outputs, f"The adapter in {folder}", carried or (), given, hint)


def base_address(folder: Path) -> str:
    """Where an adapter's base model is: a path, ``s3://`` or ``hf://`` address; UserError if it names none.

    ``base_model_name_or_path`` may be an address, a path (also relative to the adapter), or a Hugging Face name, whose
    ``revision`` counts.
    """
    path = folder / ADAPTER_CONFIG
    config = _read_json(path)
    name, revision = config.get("base_model_name_or_path") or "", config.get("revision") or ""
    if "://" in name:
        return name
    for candidate in (Path(name).expanduser(), folder / name):
        if name and candidate.is_dir():
            return str(candidate.resolve())
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return f"hf://{name}@{revision}" if revision else f"hf://{name}"
    raise UserError(
        f"{path}: base_model_name_or_path is {name!r}, and no such folder is here. "
        "Set it to the base model's folder, s3:// or hf:// address, such as hf://facebook/hubert-base-ls960."
    )


def _carried_labels(folder: Path) -> tuple[str, ...] | None:
    """Label names of an adapter's own files, or None if it has no such file."""
    config, labels = folder / "config.json", folder / "labels.json"
    if config.is_file():
        return labels_of_config(_read_json(config).get("id2label"))
    if not labels.is_file():
        return None
    names = _read_json(labels)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{labels}: a list of label names is needed, such as ["neutral", "happy", "sad", "angry"].')
    return tuple(names)


def is_normalised(folder: Path) -> bool:
    """Whether windows get zero mean and unit variance first; UserError if the model is for another sample rate."""
    if not any((folder / file).is_file() for file in _PREPROCESSORS):
        # The default of Wav2Vec2FeatureExtractor, and what HuBERT base's and wav2vec 2.0 base's own files say.
        # WavLM base's file says the opposite, so the choice is not made in silence.
        _log.warning("%s has no preprocessor_config.json: windows get zero mean and unit variance", folder)
        return True
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, **FROM_DISK)
        rate_hz, normalised = extractor.sampling_rate, bool(extractor.do_normalize)
    except LOAD_ERRORS as error:
        raise UserError(f"Can't read preprocessor_config.json in {folder}: {error}") from error
    if rate_hz != SAMPLE_RATE_HZ:
        raise UserError(f"{folder} is a model for {rate_hz} Hz; one for {SAMPLE_RATE_HZ} Hz is needed.")
    return normalised


def _read_json(path: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Can't read {path}: {error}") from error
