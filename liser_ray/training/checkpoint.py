"""Checkpoints as files: tensors, numbers and strings only."""

import io
from pickle import UnpicklingError
from typing import Any, cast

import torch

from liser_ray.runtime.errors import UserError


def saved(state: dict[str, Any]) -> bytes:
    """A checkpoint as the bytes of a file, for `loaded`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def loaded(data: bytes) -> dict[str, Any]:
    """What `saved` has written, on the CPU.

    Raises:
        UserError: there is something else in it, which could run code.
    """
    try:
        return cast("dict[str, Any]", torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            "A checkpoint (.pt) below the output is damaged, or holds more than tensors, which could run code. "
            "Delete it, and that training begins anew."
        ) from error
