"""Weights from outside: loaded without running anything that is in the file, and into the network that they fit."""

import argparse
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import write_bytes

_CONTAINER_KEYS = ("model", "state_dict", "module", "model_state_dict")

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)  # of safetensors files; else empty


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
    """What ``torch.save`` has written, on the CPU; UserError if it is more than tensors, numbers, texts and lists."""
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
    """Put a checkpoint's tensors into a network, in evaluation mode and frozen: all of them, no others, as float32.

    Args:
        network: may be on the ``meta`` device: the tensors replace its own.
        checkpoint: what to load.
        what: the network's name for the error.

    Raises:
        UserError: if a key is missing, is too many, or has another shape; with the keys.
    """
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    differences = {
        "missing": [key for key in expected if key not in found],
        "not expected": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} {found[key]} instead of {expected[key]}"
            for key in expected
            if found.get(key, expected[key]) != expected[key]
        ],
    }
    if any(differences.values()):
        lines = [f"  {len(keys)} {kind}: {listed(keys)}" for kind, keys in differences.items() if keys]
        raise UserError(f"{checkpoint.path} is no checkpoint of {what}. Its keys differ:\n" + "\n".join(lines))
    tensors = {key: t.float() if t.is_floating_point() else t for key, t in checkpoint.tensors.items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def listed(keys: Iterable[str]) -> str:
    """The first ten of the keys, for an error."""
    first, rest = (keys := list(keys))[:10], keys[10:]
    return ", ".join(first) + (f", and {len(rest)} more" if rest else "")


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, under a temporary name and renamed."""
    contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    write_bytes(str(path), safetensors.torch.save(contiguous, dict(metadata or {})))
