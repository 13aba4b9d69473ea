"""Files wherever they lie: one place that turns an address into a pyarrow file system, and what is done with it.

S3 settings come from the environment as the AWS tools read them; see `liser_ray.storage.s3`.
"""

import os
import posixpath
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_s3, join
from liser_ray.storage.retries import read_exactly, retried

_UNSUITED = re.compile(r"[?\x00-\x1f]")
"""Ray Data takes what follows a question mark in a path for a query, and finds no Parquet file (2.60); it loses line
breaks, too."""

_RAYS_COPY = "/runtime_resources/working_dir_files/_ray_pkg_"


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and the path in it for a local path or an ``s3://`` URI."""
    uri = absolute(uri)
    if is_s3(uri):
        from liser_ray.storage.s3_filesystem import s3_filesystem  # boto3, for those who need it

        return s3_filesystem(), uri.removeprefix("s3://")
    return pafs.LocalFileSystem(), uri


def exists(uri: str) -> bool:
    """Whether a file or a folder (on S3: any key below the prefix) is there."""
    fs, path = filesystem(uri)
    return bool(fs.get_file_info(path).type != pafs.FileType.NotFound)


def is_folder(uri: str) -> bool:
    """Whether a folder is there (on S3: any key below the prefix)."""
    fs, path = filesystem(uri)
    return bool(fs.get_file_info(path).type == pafs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """A small file, whole."""
    fs, path = filesystem(uri)

    def read() -> bytes:
        with fs.open_input_file(path) as file:
            return read_exactly(file, 0, file.size())

    return retried(read)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a small file whole: under a temporary name and renamed (an S3 put is whole by itself)."""
    fs, path = filesystem(uri)

    def write(to: str) -> None:
        with fs.open_output_stream(to) as stream:
            stream.write(data)

    if is_s3(uri):
        retried(lambda: write(path))
    else:
        _write_and_rename(path, fs, write)


def delete_folder(uri: str) -> None:
    """Delete a folder or prefix with all that is in it, if it is there."""
    if exists(uri):
        fs, path = filesystem(uri)
        fs.delete_dir(path)


def delete_file(uri: str) -> None:
    """Delete a file, if it is there."""
    if exists(uri):
        fs, path = filesystem(uri)
        fs.delete_file(path)


def read_parquet(path: str, fs: pafs.FileSystem, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file of a file system, again where the store breaks off."""
    return retried(lambda: pq.read_table(path, columns=columns, filesystem=fs))


def replace_parquet(path: str, fs: pafs.FileSystem, table: pa.Table) -> None:
    """Write a Parquet file of a file system whole or not at all, over an old one if there is one."""
    if isinstance(fs, pafs.LocalFileSystem):
        _write_and_rename(path, fs, lambda to: pq.write_table(table, to, filesystem=fs, compression="zstd"))
    else:  # an object appears when its upload is complete
        retried(lambda: pq.write_table(table, path, filesystem=fs, compression="zstd"))


def _write_and_rename(path: str, fs: pafs.FileSystem, write: Callable[[str], None]) -> None:
    """Write to a hidden name on a disk, which no reader takes for a part of the folder if this process is killed."""
    folder, name = posixpath.split(path)
    fs.create_dir(folder, recursive=True)
    temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # or a power cut may leave the new name with nothing in it
        fs.move(temporary, path)
    except BaseException:
        with suppress(OSError):
            fs.delete_file(temporary)
        raise


def list_files(uri: str, suffix: str = "") -> list[pafs.FileInfo]:
    """The files below a folder or prefix, recursively, by name; none if it does not exist."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    files = [info for info in found if info.type == pafs.FileType.File and info.path.endswith(suffix)]
    return sorted(files, key=lambda info: info.path)


def check_readable(uri: str) -> None:
    """Look at an S3 input and read from it, to find within seconds what would fail later; other inputs are not tried.

    An object or prefix that does not exist is for the listing to say.

    Raises:
        UserError: a wrong bucket, endpoint or region, denied access, wrong or expired credentials.
    """
    if is_s3(uri):
        from liser_ray.storage import s3

        s3.try_reading(absolute(uri))
        _look_through_pyarrow(absolute(uri))


def check_writable(uri: str) -> None:
    """Write and delete a small file there.

    Raises:
        UserError: if that fails, and why; or the address has a character that a library on the way can't take.
    """
    folder = absolute(uri)
    if found := _UNSUITED.search(folder):
        raise UserError(
            f"The output {folder!r} has {found[0]!r} in its name, and could not be read back. Give another."
        )
    probe = join(folder, f".liser-write-test-{uuid.uuid4().hex[:8]}")
    if is_s3(folder):
        from liser_ray.storage import s3

        s3.try_writing(probe)
        _look_through_pyarrow(folder)
        return
    if _RAYS_COPY in probe:
        raise UserError(
            f"The output {uri} lies in the copy of your folder that Ray makes for a submitted job and deletes. "
            "Give an absolute path or s3://bucket/prefix."
        )
    try:
        write_bytes(probe, b"")
        Path(probe).unlink()
    except OSError as error:
        raise UserError(f"Can't write to {uri}: {error}. Give a folder or s3:// prefix you may write to.") from error


def _look_through_pyarrow(uri: str) -> None:
    """boto3 follows a bucket into its region by itself; pyarrow has to be told."""
    try:
        exists(uri)
    except OSError as error:
        raise UserError(
            f"{uri}: boto3 can reach it, pyarrow can't: {error}. Set AWS_REGION to the bucket's region."
        ) from error
