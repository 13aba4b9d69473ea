"""Addresses of files and folders: what a user gives is checked and made absolute once, by `absolute` or `resolve`."""

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import unquote

from liser_ray.runtime.errors import UserError
from liser_ray.runtime.redaction import refuse_credentials

_S3 = "s3://"
_FILE = re.compile(r"file:(?://(?:localhost)?(?=/)|(?=/[^/]))", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")


def is_s3(uri: str) -> bool:
    """Whether the address is an S3 one."""
    return uri.startswith(_S3)


def has_empty_part(uri: str) -> bool:
    """Whether an S3 address has ``//`` in its key: the store and boto3 allow that, pyarrow opens none."""
    return is_s3(uri) and "//" in uri.removeprefix(_S3).rstrip("/")


def absolute(uri: str) -> str:
    """Absolute path for local files, ``s3://bucket/key`` as it is; no trailing slash.

    Of a ``file://`` address the escapes are resolved (``%20`` is a blank), as RFC 8089 has them; a path is taken as it
    stands.

    Raises:
        UserError: if the scheme is neither a local path, ``file`` nor ``s3``, an S3 address names no bucket or has an
            empty part, or the address carries credentials.
    """
    refuse_credentials(uri)
    if is_s3(uri) and not split(uri)[0]:
        raise UserError(f"{uri} names no bucket. Give s3://bucket/prefix.")
    if has_empty_part(uri):
        whole = _S3 + re.sub("/+", "/", uri.removeprefix(_S3)).rstrip("/")
        raise UserError(f"{uri} has an empty part (//), with which nothing can be opened. Give {whole}.")
    if is_s3(uri):
        return uri.rstrip("/")
    if is_file := _FILE.match(uri):
        return str(Path(unquote(uri[is_file.end() :])).absolute())
    if scheme := _SCHEME.match(uri):
        on_web = scheme[0].lower() in ("http://", "https://")
        first = "Download it, and give" if on_web else "Give"
        raise UserError(f"{uri}: can't read this kind of address. {first} a folder, a file or s3://bucket/prefix.")
    return str(Path(os.path.expanduser(uri)).absolute())


def resolve(uri: str, folder: str) -> str:
    """Absolute address of what a manifest in a folder or prefix names; see `has_empty_part`, which costs the row only.

    Raises:
        UserError: see `absolute`.
    """
    if has_empty_part(uri):
        refuse_credentials(uri)
        return uri
    if uri.startswith("/") or _SCHEME.match(uri) or _FILE.match(uri):
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
