"""Which speech teachers a run uses: ``name=uri`` strings to names and addresses."""

import posixpath
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import pyarrow.fs as pafs

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import is_s3
from liser_ray.storage.files import filesystem

_WILDCARD = re.compile(r"[*?\[]")


def read_specs(specs: Sequence[str]) -> dict[str, str]:
    """Name to address of each speech teacher, in the order given; patterns expand in the order of their names.

    Args:
        specs: each ``name=uri`` or ``uri``. A URI is a folder, ``s3://bucket/prefix`` or ``hf://owner/name``; the last
            part of a folder or S3 prefix may be a pattern. Without a name, the last part of the path names the
            teacher, made fit for a column name (``fold-0`` becomes ``fold_0``). The name of a pattern goes before
            those that it finds: ``ravdess=s3://lab/ravdess/fold-*`` gives ``ravdess_fold_0`` and so on.

    Raises:
        UserError: no spec, a name that can't be a column's, a name used twice, a pattern that nothing matches.
    """
    teachers: dict[str, str] = {}
    for spec in specs:
        for name, uri in _expanded(spec):
            if name in teachers:
                raise UserError(
                    f"Two speech teachers are called {name!r}: {teachers[name]} and {uri}. "
                    "Names are columns of the labels table: tell them apart with name=uri (of a pattern, such as "
                    "ravdess=teachers/ravdess/fold-*, it goes before each name)."
                )
            teachers[name] = uri
    if not teachers:
        raise UserError("No speech teacher given: name at least one model or adapter folder, s3:// or hf:// address.")
    return teachers


def _expanded(spec: str) -> list[tuple[str, str]]:
    name, equals, uri = spec.partition("=")
    if not equals or "/" in name:  # a path may have "=" in it: a name has no slash before it
        names = [(_last_part(match), match) for match in _matches(spec)]
        return [(name if name.isidentifier() else f"_{name}", match) for name, match in names]
    if not name.isidentifier() or not uri:
        raise UserError(f"{spec!r}: a speech teacher is given as name=uri, the name of letters, digits and _.")
    return [(f"{name}_{_last_part(match)}" if _is_pattern(uri) else name, match) for match in _matches(uri)]


def _last_part(uri: str) -> str:
    """The last part of a path in letters, digits and _."""
    return re.sub(r"\W", "_", posixpath.basename(uri.rstrip("/")))


def _is_pattern(uri: str) -> bool:
    return bool(_WILDCARD.search(uri)) and not uri.startswith("hf://")


def _matches(uri: str) -> list[str]:
    if not _is_pattern(uri):
        return [uri]
    parent, pattern = posixpath.split(uri.rstrip("/"))
    if _WILDCARD.search(parent):
        raise UserError(f"{uri}: only the last part of a pattern may have wildcards.")
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
