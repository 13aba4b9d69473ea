"""Addresses of files and folders: what a user gives is checked and made absolute once, by `absolute` or `resolve`."""

import posixpath
import re
from pathlib import Path

from liser_ray.runtime.errors import UserError
from liser_ray.runtime.redaction import refuse_credentials

_S3 = "s3://"


def is_s3(uri: str) -> bool:
    """Whether the address is an S3 one."""
    return uri.startswith(_S3)


def has_empty_part(uri: str) -> bool:
    """Whether an S3 address has ``//`` in its key: the store and boto3 allow that, pyarrow opens none."""
    return is_s3(uri) and "//" in uri.removeprefix(_S3).rstrip("/")


def absolute(uri: str) -> str:
    """Absolute path for local files (``file://`` taken off), ``s3://bucket/key`` as it is; no trailing slash.

    Raises:
        UserError: if the scheme is neither a local path, ``file`` nor ``s3``, an S3 address has an empty part, or the
            address carries credentials.
    """
    refuse_credentials(uri)
    if has_empty_part(uri):
        whole = _S3 + re.sub("/+", "/", uri.removeprefix(_S3)).rstrip("/")
        raise UserError(f"{uri} has an empty part (//), with which nothing can be opened. Give {whole}.")
    if is_s3(uri):
        return uri.rstrip("/")
    path = uri.removeprefix("file://")
    if "://" in path:
        raise UserError(f"{uri}: can't read this kind of address. Give a folder, a file or s3://bucket/prefix.")
    return str(Path(path).expanduser().absolute())


def resolve(uri: str, folder: str) -> str:
    """Absolute address of what a manifest in a folder or prefix names; see `has_empty_part`, which costs the row only.

    Raises:
        UserError: see `absolute`.
    """
    if has_empty_part(uri):
        refuse_credentials(uri)
        return uri
    if "://" in uri or uri.startswith("/"):
        return absolute(uri)
    scheme = _S3 if is_s3(folder) else ""
    return scheme + posixpath.normpath(join(folder.removeprefix(scheme), uri))


def join(uri: str, *parts: str) -> str:
    """The address of something below a folder or prefix."""
    return posixpath.join(uri.rstrip("/"), *parts)


def is_below(uri: str, folder: str) -> bool:
    """Whether an absolute address is a folder or prefix, or lies below it; links are not followed."""
    return uri == folder or uri.startswith(folder.rstrip("/") + "/")


def split(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix, "" for none) of an ``s3://`` address."""
    bucket, _, key = uri.removeprefix(_S3).partition("/")
    return bucket, key
