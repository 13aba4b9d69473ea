"""What the folder of a speech teacher says of itself: its base model, its labels, how its input is prepared."""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoFeatureExtractor

from liser_ray.runtime.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"
STUDENTS_FOLDER = "students"
SAMPLE_RATE_HZ = 16_000

_log = logging.getLogger(__name__)


def base_address(folder: Path) -> str:
    """Where an adapter's base model is: a path, ``s3://`` or ``hf://`` address.

    ``base_model_name_or_path`` may be an address, a path (also relative to the adapter), or a Hugging Face name, whose
    ``revision`` counts.

    Raises:
        UserError: the file names no base, or one that is not there.
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


def adapter_labels(folder: Path) -> tuple[str, ...] | None:
    """Label names of an adapter: of ``id2label`` in a config.json next to it, else of labels.json, else None.

    Raises:
        UserError: one of these files is there and does not name the labels.
    """
    config, labels = folder / "config.json", folder / "labels.json"
    if config.is_file():
        return named_labels(_read_json(config).get("id2label") or {}, config)
    if labels.is_file():
        names = _read_json(labels)
        if not isinstance(names, list):
            raise UserError(f'{labels}: a list of label names is needed, such as ["neutral", "happy", "sad", "angry"].')
        return named_labels(dict(enumerate(names)), labels)
    return None


def named_labels(id2label: Mapping[Any, str], path: Path) -> tuple[str, ...]:
    """Label names in the order of the outputs.

    Args:
        id2label: as config.json has it: number of the output to its name.
        path: the file they are from, for the error.

    Raises:
        UserError: names are missing, doubled, or the ``LABEL_0`` that Transformers puts where none were set.
    """
    by_id = {int(key): str(label) for key, label in id2label.items()}
    labels = tuple(by_id[key] for key in sorted(by_id))
    if (
        not labels
        or sorted(by_id) != list(range(len(labels)))
        or len(set(labels)) < len(labels)
        or any(re.fullmatch(r"LABEL_\d+|", label) for label in labels)
    ):
        example = 'the list ["neutral", "happy", ...]'
        if path.name == "config.json":
            example = '"id2label": {"0": "neutral", "1": "happy", ...}'
        raise UserError(
            f"{path} does not name the labels ({', '.join(labels) or 'none'}): set {example} "
            "there, one different name per output, in the order the model was trained with."
        )
    return labels


def has_preprocessor(folder: Path) -> bool:
    """Whether the folder says how its input is prepared."""
    return (folder / "preprocessor_config.json").is_file() or (folder / "processor_config.json").is_file()


def is_normalised(folder: Path) -> bool:
    """Whether windows get zero mean and unit variance before they go into the model of this folder.

    Raises:
        UserError: the file that says so can't be read, or the model is for another sample rate.
    """
    if not has_preprocessor(folder):
        # The default of Wav2Vec2FeatureExtractor, and what HuBERT base's and wav2vec 2.0 base's own files say.
        # WavLM base's file says the opposite, so the choice is not made in silence.
        _log.warning("%s has no preprocessor_config.json: windows get zero mean and unit variance", folder)
        return True
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        rate_hz, normalised = extractor.sampling_rate, bool(extractor.do_normalize)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"Can't read preprocessor_config.json in {folder}: {error}") from error
    if rate_hz != SAMPLE_RATE_HZ:
        raise UserError(f"{folder} is a model for {rate_hz} Hz; one for {SAMPLE_RATE_HZ} Hz is needed.")
    return normalised


def _read_json(path: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Can't read {path}: {error}") from error
