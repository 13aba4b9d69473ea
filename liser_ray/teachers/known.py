"""Weights that are known by name, such as ``face=s2d:ferv39k``: where they are published, and under what terms.

The list is ``known_weights.yaml`` beside this module. What a name stands for may change under its address; so the
SHA-256 of what was fetched at first use is remembered on each machine, and other bytes are refused later.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import write_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownWeights:
    """An entry of the list, whose head says what its fields mean."""

    name: str
    kinds: tuple[str, ...]
    address: str
    licence: str
    page: str
    choose: str = ""
    git_blob: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)


@cache
def known_weights() -> Mapping[str, KnownWeights]:
    """All, by name."""
    content = yaml.safe_load(files(__package__).joinpath("known_weights.yaml").read_text())
    return {name: KnownWeights(name, tuple(one.pop("kinds")), **one) for name, one in content.items()}


def address_of(kind: str, given: str) -> str:
    """The published address if it is a name of weights of this kind and nothing here is called so; else as it is."""
    one = known_weights().get(given)
    return given if one is None or kind not in one.kinds or os.path.exists(given) else one.address


def with_addresses(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a kind with addresses in place of names, and with what an entry has beside it."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found[name] = address_of(kind, value) if isinstance(value, str) else value
        if found[name] != value:
            for other, beside in known_weights()[value].beside.items():
                found.setdefault(other, address_of(kind, settings.get(other) or beside))
    return found


def check_known(address: str) -> None:
    """Of weights that are in the list: fetch them, print licence and SHA-256 at first use, and remember it.

    Raises:
        UserError: which file it is has to be chosen; it can't be had; or it is another than at first use, or than its
            repository has.
    """
    one = next((one for one in known_weights().values() if f"{address}/".startswith(f"{one.address}/")), None)
    if one is None:
        return
    from liser_ray.storage.fetch import cache_folder, fetch, files_on_hub, sha256  # the hub's library

    if one.choose and address == one.address:
        try:
            listed = "The files there: " + ", ".join(files_on_hub(address))
        except UserError as error:
            listed = f"Its files can't be listed: {error}"
        raise UserError(
            f"{one.name}: which file at {address} it is, no source tells. Choose {one.choose} ({one.page}), and give "
            f"{','.join([f'{address}/FILE', *one.beside.values()])} in place of {one.name}. {listed}"
        )
    path = fetch(address, f"See {one.page}.")
    if one.git_blob and _git_blob(path) != one.git_blob:
        raise UserError(
            f"{address} is not the published file: git calls it {_git_blob(path)}, and not {one.git_blob}. Delete "
            f"{path}, and try again, or get the file from {one.page}."
        )
    memory = cache_folder() / "known_weights.json"
    try:
        remembered = json.loads(memory.read_text()) if memory.exists() else {}
    except ValueError as error:
        raise UserError(f"{memory} is damaged: {error}. Delete it: hashes are then remembered anew.") from error
    digest = sha256(path)
    if before := remembered.get(address):
        if before != digest:
            raise UserError(
                f"{address} is not what it was at its first use here: its SHA-256 is now {digest}, and was {before}. "
                f"Pin the version that you want, hf://owner/name@REVISION; or take the address out of {memory}, if "
                "the new one is meant."
            )
        return
    log.warning("First use of %s: licence %s (%s), SHA-256 %s", address, one.licence, one.page, digest)
    write_bytes(str(memory), json.dumps(remembered | {address: digest}, indent=1).encode() + b"\n")


def _git_blob(path: Path) -> str:
    head = b"blob %d\0" % path.stat().st_size
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.sha1(head, usedforsecurity=False)).hexdigest()
