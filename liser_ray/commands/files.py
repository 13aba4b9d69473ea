"""What the command line names: recordings to read (files, folders, globs, S3, standard input), files to write."""

import glob
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from liser_ray.media.container import VIDEO_SUFFIXES
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, split

# fmt: off
SUFFIXES = VIDEO_SUFFIXES | {
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp2",
    ".mp3", ".oga", ".ogg", ".opus", ".sph", ".tta", ".w64", ".wav", ".wma", ".wv",
}
# fmt: on
"""Files of a folder that are taken for recordings. A file that is named may have any suffix."""

_WILD = frozenset("*?[")


class Input(NamedTuple):
    """A recording to predict (a path, an ``s3://`` address, or ``-``), or the words for why there is none."""

    uri: str
    problem: str = ""


def find_inputs(names: Iterable[str]) -> Iterator[Input]:
    """The recordings behind the names, in order: those of folders and globs by name, folders with all below them.

    Names are of files, folders, globs (for shells that pass them on), ``s3://bucket/`` with key, prefix or glob, ``-``;
    those with another scheme stay as they are, and are refused when they are opened.
    """
    for given in names:
        name = absolute(given) if given.startswith("file:") else given
        if name.startswith("s3://"):
            found = list(map(Input, _on_s3(name)))
        elif os.path.isdir(name):
            found = sorted(_below(name))
        elif _WILD & set(name) and "://" not in name and not os.path.isfile(name):
            found = sorted(map(Input, filter(_may_be_file, glob.glob(name, recursive=True))))
        else:
            found = [Input(name)]  # if it is not there, that is said when it is opened
        yield from found
        if not found:
            yield Input(name, "no recordings there")


def _below(folder: str) -> Iterator[Input]:
    """Recordings below a folder, behind links too, as in a labeling job's plan; none that is hidden: a Mac leaves some.

    And the folders that can't be listed, with the words for why.

    `liser_ray.storage.listing.walk` needs PyArrow, which who only predicts need not have.
    """
    walked: set[str] = set()
    closed: list[Input] = []

    def note(error: OSError) -> None:
        closed.append(Input(error.filename, f"can't be listed: {error.strerror}"))

    for at, folders, files in os.walk(folder, onerror=note, followlinks=True):
        if (place := os.path.realpath(at)) in walked:
            folders.clear()
            continue
        walked.add(place)
        folders[:] = [one for one in folders if not one.startswith(".")]
        named = (one for one in files if not one.startswith(".") and Path(one).suffix.lower() in SUFFIXES)
        yield from map(Input, filter(_may_be_file, (os.path.join(at, one) for one in named)))
    yield from closed


def _may_be_file(path: str) -> bool:
    """No folder or device; of a link that leads nowhere the reason is said when it is opened."""
    return os.path.isfile(path) or not os.path.exists(path)


def _on_s3(uri: str) -> Iterator[str]:
    from liser_ray.storage.listing import look, walk  # boto3, for those who have something on S3

    bucket, key = split(uri)
    if not bucket:
        raise UserError(f"{uri}: give s3://bucket/key.")
    if key and not key.endswith("/") and look(uri).error is None:
        yield uri
        return
    literal = re.split(r"[*?[]", key)[0]
    is_glob = literal != key and next(walk(uri.rstrip("/")), None) is None  # names of folders may have brackets
    folder = posixpath.dirname(literal) if is_glob else key.rstrip("/")
    for found in walk(f"s3://{bucket}/{folder}"):
        if fnmatch(found.uri, uri) if is_glob else Path(found.uri).suffix.lower() in SUFFIXES:
            yield found.uri


def check_destination(address: str, is_folder: bool = False) -> None:
    """Find before any work why no file, or folder of files, can be written to an address.

    Raises:
        UserError: it is neither a path nor ``s3://bucket/key``, or the store or the machine does not take it.
    """
    if "://" not in address:
        _check_path(Path(address), is_folder)
        return
    if not re.fullmatch(r"s3://[^/]+.*" if is_folder else r"s3://[^/]+/.*[^/]", address):
        raise UserError(f"{address}: give a path or s3://bucket/{'folder' if is_folder else 'file'}.")
    from liser_ray.storage.files import check_writable  # PyArrow and boto3, for those who have something on S3

    check_writable(absolute(address) if is_folder else posixpath.dirname(absolute(address)))


def _check_path(path: Path, is_folder: bool) -> None:
    if not is_folder and os.path.isdir(path):
        raise UserError(f"{path} is a folder: give a file.")
    folder = path if is_folder else path.parent
    there = next(one for one in (folder, *folder.parents) if os.path.exists(one))
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{path} can't be written: {there} is no folder that you may write to.")


def write_file(address: str, data: bytes) -> None:
    """Write a file whole, to an address that was checked; folders on the way to it are made.

    Raises:
        UserError: a path that turns out not to be writable.
    """
    if "://" in address:
        from liser_ray.storage.files import write_bytes

        write_bytes(address, data)
        return
    path = Path(address)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{address} can't be written: {error.strerror}") from error
