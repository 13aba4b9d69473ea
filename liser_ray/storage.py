"""Files wherever they lie: one place that turns a path or an ``s3://`` URI into a pyarrow file system.

S3 settings come from the environment as the AWS tools read them (``AWS_ENDPOINT_URL``, ``AWS_REGION``,
credentials, profile, instance role).
"""

import functools
import os
import posixpath
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from liser_ray.errors import UserError
from liser_ray.redaction import refuse_credentials

_S3_SETTINGS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_NO_SIGN_REQUEST",
    # read by pyarrow itself
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
)


def is_s3(uri: str) -> bool:
    """Whether the address is an S3 one."""
    return uri.startswith("s3://")


def normalise(uri: str) -> str:
    """Absolute path for local files (``file://`` taken off), ``s3://bucket/key`` as it is; no trailing slash.

    Raises:
        UserError: if the scheme is neither a local path, ``file`` nor ``s3``, or the address carries credentials.
    """
    refuse_credentials(uri)
    if is_s3(uri):
        return uri.rstrip("/")
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    if "://" in uri:
        raise UserError(f"{uri}: can't read this kind of address. Give a folder, a file or s3://bucket/prefix.")
    return str(Path(uri).expanduser().absolute())


def join(uri: str, *parts: str) -> str:
    """The address of something below a folder or prefix."""
    return posixpath.join(uri.rstrip("/"), *parts)


def s3_filesystem() -> pafs.S3FileSystem:
    """The S3 file system as the environment describes it; the same one (and its connections) while that stays."""
    return _s3_filesystem(tuple(os.environ.get(name, "") for name in _S3_SETTINGS))


@functools.lru_cache(maxsize=4)
def _s3_filesystem(settings: tuple[str, ...]) -> pafs.S3FileSystem:
    environment = dict(zip(_S3_SETTINGS, settings, strict=True))
    endpoint = environment["AWS_ENDPOINT_URL_S3"] or environment["AWS_ENDPOINT_URL"] or None
    region = environment["AWS_REGION"] or environment["AWS_DEFAULT_REGION"] or None
    return pafs.S3FileSystem(
        endpoint_override=endpoint,
        # A bucket elsewhere needs its region named; stores that are not AWS take any.
        region=region or ("us-east-1" if endpoint else None),
        anonymous=environment["AWS_NO_SIGN_REQUEST"].lower() in {"1", "true", "yes"},
        allow_bucket_creation=False,
        request_timeout=60,
        connect_timeout=10,
    )


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and the path in it for a local path or an ``s3://`` URI."""
    uri = normalise(uri)
    if is_s3(uri):
        return s3_filesystem(), uri.removeprefix("s3://")
    return pafs.LocalFileSystem(), uri


def exists(uri: str) -> bool:
    """Whether a file or a folder (on S3: any key below the prefix) is there."""
    fs, path = filesystem(uri)
    return bool(fs.get_file_info(path).type != pafs.FileType.NotFound)


def read_bytes(uri: str) -> bytes:
    """A small file, whole."""
    fs, path = filesystem(uri)
    with fs.open_input_stream(path) as stream:
        return bytes(stream.read())


def write_bytes(uri: str, data: bytes) -> None:
    """Write a small file whole: under a temporary name and renamed (an S3 put is whole by itself)."""
    fs, path = filesystem(uri)
    if is_s3(uri):
        with fs.open_output_stream(path) as stream:
            stream.write(data)
        return
    fs.create_dir(posixpath.dirname(path), recursive=True)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    with fs.open_output_stream(temporary) as stream:
        stream.write(data)
    fs.move(temporary, path)


def delete_folder(uri: str) -> None:
    """Delete a folder or prefix with all that is in it, if it is there."""
    if exists(uri):
        fs, path = filesystem(uri)
        fs.delete_dir(path)


def replace_parquet(path: str, fs: pafs.FileSystem, table: pa.Table) -> None:
    """Write a Parquet file of a file system whole or not at all, over an old one if there is one."""
    if isinstance(fs, pafs.LocalFileSystem):
        fs.create_dir(posixpath.dirname(path), recursive=True)
        temporary = f"{path}.tmp"
        pq.write_table(table, temporary, filesystem=fs, compression="zstd")
        fs.move(temporary, path)
    else:  # an object appears when its upload is complete
        pq.write_table(table, path, filesystem=fs, compression="zstd")


def list_files(uri: str, suffix: str = "") -> list[pafs.FileInfo]:
    """The files below a folder or prefix, recursively, by name; none if it does not exist."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    files = [info for info in found if info.type == pafs.FileType.File and info.path.endswith(suffix)]
    return sorted(files, key=lambda info: info.path)


def check_writable(uri: str) -> None:
    """Write and delete a small file there.

    Raises:
        UserError: if that fails, with the store's own words.
    """
    probe = join(normalise(uri), f".liser-write-test-{uuid.uuid4().hex[:8]}")
    try:
        write_bytes(probe, b"")
        fs, path = filesystem(probe)
        fs.delete_file(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"Can't write to {uri}: {error}. Give a folder or s3:// prefix you may write to.") from error
