"""What the command line names: recordings to read (files, folders, globs, S3, standard input), files to write."""

import glob
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from liser_ray.media.container import VIDEO_SUFFIXES
from liser_ray.prediction.sound import STDIN
from liser_ray.runtime.errors import UserError

# fmt: off
SUFFIXES = VIDEO_SUFFIXES | {
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp2",
    ".mp3", ".oga", ".ogg", ".opus", ".sph", ".tta", ".w64", ".wav", ".wma", ".wv",
}
# fmt: on
"""Files of a folder that are taken for recordings. A file that is named may have any suffix."""

_WILD = frozenset("*?[")


class Input(NamedTuple):
    """A recording to predict, or the words for why there is none.

    Attributes:
        uri: a path, an ``s3://`` address, or ``-``.
        problem: "" if there is one.
    """

    uri: str
    problem: str = ""


def find_inputs(names: Iterable[str]) -> Iterator[Input]:
    """The recordings behind the names, in order: those of folders and globs by name, folders with all below them.

    Args:
        names: files, folders, globs (for shells that pass them on), ``s3://bucket/key``, ``s3://bucket/prefix/``,
            ``s3://bucket/glob*``, ``-``.
    """
    for name in names:
        if name == STDIN or os.path.isfile(name):
            yield Input(name)
            continue
        found: list[str]
        if name.startswith("s3://"):
            found = list(_on_s3(name))
        elif os.path.isdir(name):
            found = _below(name)
        elif _WILD & set(name):
            found = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
        else:
            yield Input(name)  # which says that it is not there when it is opened
            continue
        yield from map(Input, found)
        if not found:
            yield Input(name, "no recordings there")


def _below(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _on_s3(uri: str) -> Iterator[str]:
    from liser_ray.storage import s3  # boto3, for those who have something on S3
    from liser_ray.storage.addresses import split
    from liser_ray.storage.listing import look

    bucket, key = split(uri)
    if not bucket:
        raise UserError(f"{uri}: give s3://bucket/key.")
    prefix = key
    for character in _WILD:
        prefix = prefix.split(character, 1)[0]
    is_glob = prefix != key
    if not is_glob:
        if key and not key.endswith("/") and look(uri).error is None:
            yield uri
            return
        folder = key.rstrip("/")
        prefix = f"{folder}/" if folder else ""
    for record in s3.list_objects(bucket, prefix):
        found = record["Key"]
        if found.endswith("/"):  # what some tools leave for a folder
            continue
        if fnmatch(found, key) if is_glob else Path(found).suffix.lower() in SUFFIXES:
            yield f"s3://{bucket}/{found}"


def check_destination(address: str, is_folder: bool = False) -> None:
    """Find before any work why nothing can be written to an S3 address; paths are not tried.

    Args:
        address: of a file.
        is_folder: of a folder for files.

    Raises:
        UserError: it is neither a path nor ``s3://bucket/key``, or the store does not take it.
    """
    if "://" not in address:
        return
    if not re.fullmatch(r"s3://[^/]+.*" if is_folder else r"s3://[^/]+/.*[^/]", address):
        raise UserError(f"{address}: give a path or s3://bucket/{'folder' if is_folder else 'file'}.")
    from liser_ray.storage.addresses import absolute
    from liser_ray.storage.files import check_writable  # PyArrow and boto3, for those who have something on S3

    check_writable(absolute(address) if is_folder else posixpath.dirname(absolute(address)))


def write_file(address: str, data: bytes) -> None:
    """Write a file whole, to an address that was checked; folders on the way to it are made."""
    if "://" in address:
        from liser_ray.storage.files import write_bytes

        write_bytes(address, data)
        return
    path = Path(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
