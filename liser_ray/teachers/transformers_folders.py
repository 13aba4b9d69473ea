"""Classifiers in folders that Transformers' ``save_pretrained`` has written: none of their code runs.

Transformers only warns when weights are missing and goes on with random ones; here they are named.
"""

import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.labels import agreed_labels, labels_of_config
from liser_ray.teachers.weights import listed, why_not_loaded

LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError, UnpicklingError)
"""What Transformers and PEFT raise on files that are missing, damaged or of something else."""

FROM_DISK = {"local_files_only": True, "trust_remote_code": False}
"""For ``from_pretrained``: without the second, Transformers asks on the terminal whether to run a folder's code."""

_TOKENIZERS = ("tokenizer.*", "vocab.*", "*.model")
"""Files with the pieces of words that a tokenizer knows."""


def read_classifier(
    auto_class: Any,  # noqa: ANN401 (Transformers' have no common type)
    folder: Path,
    what: str,
    device: torch.device,
    new_labels: Sequence[str] = (),
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, frozenset[str], frozenset[str]]:
    """A classifier in evaluation mode, float32, on a device; and the names of weights that do not fit.

    Those first that its folder lacks, then those that are in the folder and have no place in it. With new labels it
    gets a new head for them: what of the folder's head has other sizes is then missing. Code in the folder runs only if
    it is trusted.

    Raises:
        UserError: the folder holds no such model (``what`` in words), none that loads without running code, or one
            whose weights have other sizes than its config.json says.
    """
    settings: dict[str, Any] = {**FROM_DISK, "trust_remote_code": trust_remote_code}
    if new_labels:
        settings["id2label"] = dict(enumerate(new_labels))
        settings["label2id"] = {label: number for number, label in enumerate(new_labels)}
    try:
        with quiet():
            # Sizes that differ are told here: Transformers' own error points at a table that it has logged.
            model, info = auto_class.from_pretrained(
                folder, output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32, **settings
            )
    except LOAD_ERRORS as error:
        raise UserError(
            f"Can't load {what} from {folder}: {why_not_loaded(error)}. A folder with its config.json and "
            "model.safetensors, as save_pretrained writes it, is needed."
        ) from error
    differ = sorted(info["mismatched_keys"])
    if differ and not new_labels:
        name, *sizes = differ[0]
        stored, expected = (" x ".join(map(str, size)) for size in sizes)
        more = f" ({len(differ)} differ so)" if len(differ) > 1 else ""
        raise UserError(
            f"{folder}: {name} is {stored} in its weights, and {expected} by its config.json{more}. If it is the head, "
            "id2label there has to name as many labels as the head has outputs."
        )
    missing, unexpected = (frozenset(map(str, info[keys])) for keys in ("missing_keys", "unexpected_keys"))
    return model.to(device).eval(), missing | {str(name) for name, *_ in differ}, unexpected


def refuse_other_tasks(model: PreTrainedModel, source: str) -> None:
    """Raise a `UserError` for a head whose outputs are no probabilities of one label each."""
    task, n_outputs = model.config.problem_type, model.config.num_labels or 0
    if task in ("regression", "multi_label_classification") or n_outputs < 2:
        what = {"regression": "numbers (regression)", "multi_label_classification": "several labels at once"}
        raise UserError(
            f"{source} gives {what.get(task or '', 'one output')}, not a distribution over labels: a softmax of it "
            "would mean nothing. Give a classifier of one label out of several."
        )


def refuse_unlike(folder: Path, model: PreTrainedModel, missing: Set[str], unexpected: Set[str], advice: str) -> None:
    """Raise a `UserError` for a classifier that lacks weights or has others, or whose outputs are no probabilities."""
    if missing:
        raise UserError(f"{folder} lacks weights of the classifier: {listed(sorted(missing))}. {advice}")
    if unexpected:
        raise UserError(
            f"{folder} has weights that a {model.config.model_type} classifier of Transformers has no place for, so "
            f"its answers would be wrong: {listed(sorted(unexpected))}."
        )
    refuse_other_tasks(model, str(folder))


def labels_of_model(model: PreTrainedModel, folder: Path, given: Sequence[str]) -> tuple[str, ...]:
    """The labels of a classifier's own ``config.json``, or those ``given``, see `agreed_labels`."""
    hint = f'set "id2label": {{"0": "neutral", "1": "happy", ...}} in {folder / "config.json"}'
    return agreed_labels(
        model.config.num_labels or 0, str(folder), labels_of_config(model.config.id2label), given, hint
    )


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder; UserError if it holds none: Transformers may make one up, with a few words."""
    found, problem = any(path for pattern in _TOKENIZERS for path in folder.glob(pattern)), "it is not there"
    try:
        with quiet():
            if found:
                return AutoTokenizer.from_pretrained(folder, **FROM_DISK)
    except LOAD_ERRORS as error:
        problem = str(error)
    raise UserError(
        f"Can't read the tokenizer in {folder}: {problem}. Copy the model's own (tokenizer.json ...) there."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Context without Transformers' and PEFT's own words, such as a table that calls an adapter's base broken."""
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
