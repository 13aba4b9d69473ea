"""Speech classifiers from disk: whole models, PEFT adapters and heads, and never a weight that no file has set.

What is of one base model shares its tensors: the base is read once and lies in memory once. Each adapter puts its own
LoRA matrices and head on a copy of the module tree whose tensors are the same; heads have the frozen base in common.
"""

import copy
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForAudioClassification, PreTrainedModel

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.bundles import LoadedModel, find_bundle
from liser_ray.teachers.labels import agreed_labels, labels_of_config
from liser_ray.teachers.pooled_head import HEAD_CONFIG, HEAD_FILE, HeadedModel, LayerStatistics, read_head
from liser_ray.teachers.projected_head import head_of_weights, is_projected
from liser_ray.teachers.remote_code import ForeignModel, brings_code
from liser_ray.teachers.speech_inputs import PREPROCESSORS, Preparation, hear_only_what_is_there, read_preparation
from liser_ray.teachers.transformers_folders import (
    LOAD_ERRORS,
    labels_of_model,
    quiet,
    read_classifier,
    refuse_other_tasks,
    refuse_unlike,
)
from liser_ray.teachers.weights import listed, why_not_loaded

log = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"
HEAD = ("projector", "classifier")
"""Modules of Transformers' classifiers that are not of the pretrained model; AST has no projector."""

# Stands for masked frames in training; checkpoints often lack it and inference never reads it.
_UNUSED_IN_INFERENCE = "masked_spec_embed"

_HINT = "Give the folder, s3:// or hf:// address of a speech model or adapter: speech=speech:ADDRESS."


@dataclass(frozen=True)
class SpeechModel(LoadedModel):
    """A classifier of pieces of sound.

    Attributes:
        network: ``network(**inputs).logits`` is [N, K].
        prepare: sound to its inputs.
    """

    network: nn.Module = field(repr=False)
    prepare: Preparation


class Remembering(nn.Module):
    """A module that several models share: asked again about the same tensors, it answers with what it found before.

    The convolutions are a good third of HuBERT base's work on 0.5-s windows, and a frozen base is all but a head's:
    they run once for all that are on it.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self._last: tuple[tuple[Tensor, ...], Tensor] | None = None

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """The module's output for these very tensors."""
        asked = (*inputs, *named.values())
        if self._last is None or not _are_the_same(self._last[0], asked):
            self._last = asked, self.module(*inputs, **named)
        return self._last[1]

    def forget(self) -> None:
        """Let go of the last tensors, so that they don't hold memory between calls."""
        self._last = None


def _are_the_same(before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> bool:
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))


@dataclass
class BaseModel:
    """A classifier as its folder has it, and in what it differs from its folder."""

    folder: Path
    model: PreTrainedModel
    missing: frozenset[str]  # weights that the folder does not have
    unexpected: frozenset[str]  # weights that the model has no place for

    @cached_property
    def convolutions(self) -> Remembering | None:
        """Those that adapters share; None of a model that takes spectrograms."""
        module = getattr(self.model.base_model, "feature_extractor", None)
        return Remembering(module) if module is not None else None

    @cached_property
    def statistics(self) -> Remembering:
        """What heads learn from."""
        self.refuse_missing()
        return Remembering(LayerStatistics(self.model))

    @cached_property
    def sha256(self) -> str:
        """Of the folder."""
        return sha256(self.folder)

    def refuse_missing(self) -> None:
        """Raise a `UserError` if the folder lacks weights of the pretrained model itself, beside a head's."""
        if lacking := sorted(key for key in self.missing if not key.startswith(HEAD)):
            raise UserError(f"{self.folder} lacks weights of the pretrained model itself: {listed(lacking)}.")


def load_base(folder: Path, device: torch.device, trust_remote_code: bool = False) -> BaseModel:
    """Read a Transformers folder as an audio classifier; UserError if it holds none, or one with code not trusted."""
    if brings_code(folder):
        if not trust_remote_code:
            raise UserError(
                f"{folder} is a model with custom code, which is not run: it could do anything. If you have read "
                "it and trust who wrote it, say --trust_remote_code."
            )
        log.warning("%s: its own code runs, as --trust_remote_code says. It may do anything that you may", folder)
    model, missing, unexpected = read_classifier(
        AutoModelForAudioClassification, folder, "a speech model", device, trust_remote_code=trust_remote_code
    )
    hear_only_what_is_there(model)
    needed, left = (
        frozenset(key for key in keys if not key.endswith(_UNUSED_IN_INFERENCE)) for keys in (missing, unexpected)
    )
    return BaseModel(folder, model, needed, left)


def load_models(
    addresses: Mapping[str, str], device: torch.device, given: Sequence[str] = (), trust_remote_code: bool = False
) -> tuple[SpeechModel, ...]:
    """Models on a device, by the names of their targets; those of one base share its weights.

    Labels that the user has ``given`` must be those that a folder has, if it has any. Code that a model brings along
    runs only if it is trusted.
    """
    bases: dict[Path, BaseModel] = {}
    models = []
    for name, address in addresses.items():
        folder = fetch(address, _HINT)
        is_adapter, is_head = ((folder / file).is_file() for file in (ADAPTER_CONFIG, HEAD_FILE))
        base_folder = fetch(base_address(folder)).resolve() if is_adapter or is_head else folder
        base = bases[base_folder] = bases.get(base_folder) or load_base(base_folder, device, trust_remote_code)
        if is_head:
            network, labels = _headed(base, folder, given)
        elif is_adapter:
            network, labels = _adapted(base, folder, given)
        else:
            network, labels = _whole(base, given)
        digest, bundle = base.sha256, find_bundle(str(folder))
        tuned = bundle.content.get("base", {}).get("sha256", digest) if bundle and folder != base.folder else digest
        if tuned != digest:
            log.warning(
                "%s was tuned on another %s than there is now (SHA-256 %s, not %s): its answers may mean nothing.",
                *(folder, base.folder, digest[:12], tuned[:12]),
            )
        if folder != base.folder:
            digest = hashlib.sha256((sha256(folder) + digest).encode()).hexdigest()
        preprocessor = folder if any((folder / file).is_file() for file in PREPROCESSORS) else base_folder
        prepare = read_preparation(preprocessor, base.model)
        models.append(SpeechModel(name, labels, digest, network, prepare, bundle=bundle))
    return tuple(models)


def _whole(base: BaseModel, given: Sequence[str]) -> tuple[nn.Module, tuple[str, ...]]:
    """The classifier of a folder that has a head of its own, and its labels."""
    if base.missing and any(key.startswith(HEAD) for key in base.unexpected):
        own = sorted(key for key in base.unexpected if key.startswith(HEAD))
        raise UserError(
            f"{base.folder} has a head of another kind than a {base.model.config.model_type} classifier of "
            f"Transformers, and the code for it is not run: {listed(own)}. Its base can be tuned anew with "
            "finetune_speech_teacher.py."
        )
    advice = (
        "A pretrained backbone alone gives no labels: use a model tuned for emotion, or an adapter folder with this "
        "model as its base."
    )
    refuse_unlike(base.folder, base.model, base.missing, base.unexpected, advice)
    network = ForeignModel(base.model) if brings_code(base.folder) else base.model
    return network, labels_of_model(base.model, base.folder, given)


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
    projected = [name for name in linear_layers(base.model, HEAD) if is_projected(provided, f"{name}.")]
    if unset := {key for key in base.missing - provided if key.rpartition(".")[0] not in projected}:
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
    for name in linear_layers(model, HEAD):
        if name in projected or f"{name}.weight" in provided:
            layer = head_of_weights(weights, f"base_model.model.{name}.")
            model.set_submodule(name, layer.to(model.device))
    n_outputs = model.get_parameter(f"{linear_layers(model, HEAD)[-1]}.weight").shape[0]
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
    if base.convolutions is not None and not any("feature_extractor" in key for key in provided):
        model.base_model.feature_extractor = base.convolutions
    carried = _carried_labels(folder)
    if carried is None and not any(key.startswith(HEAD[-1]) for key in provided):
        refuse_other_tasks(base.model, str(base.folder))
        return adapted.eval(), labels_of_model(base.model, base.folder, given)
    hint = f'put a labels.json next to {ADAPTER_CONFIG}, such as ["neutral", "happy", "sad", "angry"]'
    return adapted.eval(), agreed_labels(n_outputs, f"The adapter in {folder}", carried or (), given, hint)


def _headed(base: BaseModel, folder: Path, given: Sequence[str]) -> tuple[nn.Module, tuple[str, ...]]:
    """A head on the frozen base, and its labels."""
    head, config = read_head(folder / HEAD_FILE).to(base.model.device), base.model.config
    if head.mean.shape != (config.num_hidden_layers + 1, 2 * config.hidden_size):
        raise UserError(f"The head in {folder} was trained on another base than {base.folder}: give that one.")
    labels = agreed_labels(head.n_labels, str(folder), _carried_labels(folder) or (), given, "put a labels.json there")
    return HeadedModel(base.statistics, head).eval(), labels


def linear_layers(model: nn.Module, parts: Iterable[str]) -> list[str]:
    """Names of the linear layers in parts of a model, in order; a part may be one, or not there."""
    parts = tuple(parts)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.partition(".")[0] in parts
    ]


def base_address(folder: Path) -> str:
    """Where the base model of an adapter or a head is: a path, ``s3://`` or ``hf://`` address; UserError if nowhere.

    ``base_model_name_or_path`` may be an address, a path (also relative to the adapter), or a Hugging Face name, whose
    ``revision`` counts.
    """
    path = next(one for one in (folder / ADAPTER_CONFIG, folder / HEAD_CONFIG) if one.is_file())
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


def _read_json(path: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Can't read {path}: {error}") from error
