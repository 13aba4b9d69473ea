"""Where recordings may lie: below the folders and prefixes that whoever starts a job has named, links followed."""

import os
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.fs as pafs

from liser_ray.storage.addresses import absolute, is_below, is_s3


def roots_of(input_uri: str, allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """The roots that the recordings of an input must lie below; empty: they may lie anywhere.

    A folder's files are those in it, or in further folders that are allowed. A manifest may name any file and object
    that the job can reach, unless ``allowed`` says where they are; so may whoever gives one file.
    """
    uri, further = absolute(input_uri), tuple(map(absolute, allowed))
    is_folder = not is_s3(uri) and os.path.isdir(uri)
    return (uri, *further) if is_folder or further else ()


def refusal(uri: str, roots: tuple[str, ...]) -> str | None:
    """Why what is at an address may not be read, and what to do; None if it is one of the roots or below one.

    All links of a path are followed. An S3 address with a step ``..`` is below nothing: a store, or a library on the
    way to it, might take that step.
    """
    if not roots:
        return None
    place = uri if is_s3(uri) else os.path.realpath(uri)
    steps = {".", ".."} & set(uri.split("/")) if is_s3(uri) else ()
    if not steps and any(is_below(place, root if is_s3(root) else os.path.realpath(root)) for root in roots):
        return None
    leads = f", which leads to {place}," if place != uri else ""
    return f"{uri}{leads} lies outside of what may be read: name its folder or prefix in --plan.allowed_roots"


def open_local(path: str, roots: tuple[str, ...]) -> pa.NativeFile:
    """Open a file of this machine that lies below the roots; a PermissionError if it lies elsewhere.

    Its place is asked of what was opened, not of its name: a link may change between a check and the opening.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        opened = f"/proc/self/fd/{descriptor}"
        if why := refusal(os.readlink(opened), roots):
            raise PermissionError(why)
        return pafs.LocalFileSystem().open_input_file(opened)
    finally:
        os.close(descriptor)
