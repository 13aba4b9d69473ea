"""Addresses whose last part may be a pattern: one teacher of several folders."""

import posixpath
import re
from fnmatch import fnmatchcase

import pyarrow.fs as pafs

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import is_s3
from liser_ray.storage.files import check_readable, filesystem

_WILDCARD = re.compile(r"[*?\[]")


def expanded(name: str, address: str) -> dict[str, str]:
    """Name to address of each folder that an address names, in the order of their names.

    Args:
        name: of the teacher.
        address: a folder, ``s3://bucket/prefix``, ``hf://owner/name`` or ``https://…``, which keeps the name; or a
            folder or S3 prefix whose last part is a pattern: ``teachers/fold-*`` of ``speech`` gives ``speech_fold_0``
            and so on.

    Raises:
        UserError: nothing matches a pattern, two folders would have one name, or the store can't be read.
    """
    if address.startswith(("hf://", "https://")) or not _WILDCARD.search(address):
        return {name: address}
    found: dict[str, str] = {}
    for match in _matches(address):
        target = f"{name}_" + re.sub(r"\W", "_", posixpath.basename(match))
        if target in found:
            raise UserError(f"{found[target]} and {match} would both be called {target}: rename one of the folders.")
        found[target] = match
    return found


def _matches(uri: str) -> list[str]:
    parent, pattern = posixpath.split(uri.rstrip("/"))
    if _WILDCARD.search(parent):
        raise UserError(f"{uri}: only the last part of a pattern may have wildcards.")
    check_readable(parent)
    fs, path = filesystem(parent or ".")
    folders = [
        info.base_name
        for info in fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        if info.type == pafs.FileType.Directory and fnmatchcase(info.base_name, pattern)
    ]
    if not folders:
        raise UserError(f"No folder matches {uri}. Look at what lies below {parent or 'the working folder'}.")
    root = f"s3://{path}" if is_s3(uri) else path
    return [posixpath.join(root, folder) for folder in sorted(folders)]
