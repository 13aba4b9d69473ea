"""Files that a command writes: to a path, or to S3."""

import os
import posixpath
import re
from pathlib import Path

from liser_ray.runtime.errors import UserError


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
