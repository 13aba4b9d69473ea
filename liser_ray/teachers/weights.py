"""Weights from outside: fetched by address, identified by hash, loaded without running anything that is in the file."""

import argparse
import hashlib
import os
import pickle
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
import pyarrow as pa
import pyarrow.fs as pafs
import safetensors
import safetensors.torch
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn

from liser_ray.errors import UserError
from liser_ray.storage.files import filesystem, is_s3, list_files, normalise

_HUB = "hf://"
_CONTAINER_KEYS = ("model", "state_dict", "module", "model_state_dict")
_MAX_NAMED_KEYS = 10

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)  # of safetensors files; else empty


def fetch(uri: str, hint: str = "") -> Path:
    """A local file or folder with what the address names.

    Args:
        uri: a local path; ``s3://bucket/key`` (a file or a prefix), kept below ``~/.cache/liser_ray`` (or
            ``LISER_CACHE``); ``hf://owner/name/path/in/repo`` (a file) or ``hf://owner/name`` (all files), kept in the
            Hugging Face cache (``HF_HOME``), where ``owner/name@revision`` pins a version.
        hint: added to the error: what to get instead and which option names it.

    Raises:
        UserError: if there is nothing or it can't be had.
    """
    if not uri:
        raise UserError(f"No weights given. {hint}".rstrip())
    if uri.startswith(_HUB):
        return _fetch_from_hub(uri, hint)
    if is_s3(uri):
        return _fetch_from_s3(uri, hint)
    path = Path(normalise(uri))
    if not path.exists():
        raise UserError(f"Weights not found: {path} does not exist. {hint}".rstrip())
    return path


def _fetch_from_hub(uri: str, hint: str) -> Path:
    owner, _, rest = uri.removeprefix(_HUB).partition("/")
    name, _, filename = rest.strip("/").partition("/")
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise UserError(f"{uri}: give hf://owner/name or hf://owner/name/path/of/file.")
    repo = f"{owner}/{name}"
    try:
        if filename:
            return Path(huggingface_hub.hf_hub_download(repo, filename, revision=revision or None))
        # Many speech models come in four frameworks' formats: take PyTorch's alone.
        others = ["*.h5", "*.msgpack", "*.ot"]
        return Path(huggingface_hub.snapshot_download(repo, revision=revision or None, ignore_patterns=others))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{uri} is not in the Hugging Face cache and the hub can't be reached. Download it where there is a "
            f"network (hf download {repo}), and copy the cache or give the path of the file. {hint}".rstrip()
        ) from error
    except Exception as error:  # the hub's own, or its HTTP library's, which is not the same in all versions
        raise UserError(f"{uri} can't be fetched: {error} {hint}".rstrip()) from error


def _fetch_from_s3(uri: str, hint: str) -> Path:
    uri = normalise(uri)
    try:
        fs, path = filesystem(uri)
        info = fs.get_file_info(path)
        files = [info] if info.type == pafs.FileType.File else list_files(uri)
        if not files:
            raise UserError(f"Weights not found: nothing at {uri}. {hint}".rstrip())
        # Size and time are part of the name: an object that was replaced is fetched again.
        facts = [uri, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""]
        facts += [f"{file.path} {file.size} {file.mtime_ns}" for file in files]
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
        target = _cache() / "s3" / key / Path(path).name
        if not target.exists():
            _download(fs, path, files, target)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{uri} can't be read: {error}. {hint}".rstrip()) from error
    return target


def _download(fs: pafs.FileSystem, path: str, files: list[pafs.FileInfo], target: Path) -> None:
    """Copy to a temporary name and rename, so that several workers of a node may do it at once."""
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        for file in files:
            destination = temporary / file.path[len(path) :].strip("/")  # the temporary name itself for a single file
            destination.parent.mkdir(parents=True, exist_ok=True)
            with fs.open_input_stream(file.path) as source, destination.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        try:
            temporary.rename(target)
        except OSError:
            if not target.exists():  # another worker was faster with a folder
                raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _cache() -> Path:
    return Path(os.environ.get("LISER_CACHE") or "~/.cache/liser_ray").expanduser()


def sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes; of a folder: of its files' names and digests, in order, without hidden ones."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        # A hub snapshot has .gitattributes and such, a copy of the same model often not.
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Tensors of a safetensors file or of a PyTorch one, on the CPU.

    A PyTorch file may hold the tensors directly or under one key (``model``, ``state_dict``, ...). Two things that
    training set-ups add are taken off: the prefix ``module.`` if all keys have it, and entries with "landmark" in
    their key, which are a copy of S2D's landmark network.

    Raises:
        UserError: if the file is neither, or can't be loaded without running code that is in it.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the weights file in it.")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{path} is no readable safetensors file: {error}") from error
    else:
        tensors = _state_dict(load_plain(path), path)
    if tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return Checkpoint(path, {key: tensor for key, tensor in tensors.items() if "landmark" not in key}, metadata)


def load_plain(path: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    """What ``torch.save`` has written, on the CPU, if it is tensors, numbers, texts and collections of these alone.

    Raises:
        UserError: it holds anything else, which could run code, or is no such file.
    """
    try:
        # Training scripts store their command line as a Namespace, a plain record that is safe to build.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} can't be loaded as weights alone (weights_only=True): {why_not_loaded(error)}"
        ) from error


def why_not_loaded(error: Exception) -> str:
    """A loading error in a line. PyTorch's own words for code in a file end in how to run it."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds more than tensors, which could run code"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    for key in _CONTAINER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise UserError(f"{path} holds no state dict, neither by itself nor under {', '.join(_CONTAINER_KEYS)}.")
    return dict(content)


def load_strictly(network: Network, checkpoint: Checkpoint, what: str) -> Network:
    """Put a checkpoint's tensors into a network: all of them and no others, floats as float32.

    Args:
        network: may be on the ``meta`` device: the tensors replace its own.
        checkpoint: what to load.
        what: the network's name for the error.

    Returns:
        The network, in evaluation mode and frozen.

    Raises:
        UserError: if a key is missing, is too many, or has another shape; with the keys.
    """
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    differences = {
        "missing": [key for key in expected if key not in found],
        "not expected": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} {found[key]} instead of {shape}"
            for key, shape in expected.items()
            if key in found and found[key] != shape
        ],
    }
    if any(differences.values()):
        lines = [f"  {len(keys)} {kind}: {_some(keys)}" for kind, keys in differences.items() if keys]
        raise UserError(f"{checkpoint.path} is no checkpoint of {what}. Its keys differ:\n" + "\n".join(lines))
    tensors = {key: t.float() if t.is_floating_point() else t for key, t in checkpoint.tensors.items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _some(keys: list[str]) -> str:
    more = len(keys) - _MAX_NAMED_KEYS
    return ", ".join(keys[:_MAX_NAMED_KEYS]) + (f", and {more} more" if more > 0 else "")


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, under a temporary name and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    safetensors.torch.save_file(contiguous, temporary, metadata=dict(metadata or {}))
    temporary.rename(path)
