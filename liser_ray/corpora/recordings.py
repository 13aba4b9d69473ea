"""What there is to label: recordings in a folder, below an S3 prefix, in a manifest, or one file."""

import os
import posixpath
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from liser_ray.corpora.labeled import SOUND_SUFFIXES, input_address, input_folder, read_labeled_set
from liser_ray.corpora.manifest import Manifest, is_manifest
from liser_ray.corpora.ordered import in_order
from liser_ray.media.container import VIDEO_SUFFIXES
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_below, is_s3, split
from liser_ray.storage.listing import Found, look, walk

_AT_ONCE = 64  # requests: an S3 store takes 20 to 100 ms for each
_TEXT = (pa.string(), pa.large_string(), pa.string_view())


@dataclass(frozen=True)
class Recording:
    """One recording as the store lists it (see `Found`), before any byte of it is read."""

    uri: str
    size_bytes: int  # 0 if it can't be reached
    version: str
    extra: tuple[Any, ...] = ()  # values of the manifest's other columns, in the order of `Listing.extra_schema`
    problem: Problem | None = None  # why it can't be labeled, as far as that is known without a look inside


@dataclass
class Listing:
    """The recordings of an input, once over, in a stable order, and what was met on the way, so far."""

    recordings: Iterator[Recording] = field(default_factory=lambda: iter(()))
    extra_schema: pa.Schema = field(default_factory=lambda: pa.schema([]))  # types of `Recording.extra`
    total: int | None = None  # how many there will be, where that is known at the start
    ignored_files: int = 0  # passed over because of their suffix
    duplicates: int = 0  # rows of the manifest passed over because an earlier one names the same recording


def list_recordings(
    input_uri: str, skip_uri: str | None = None, roots: tuple[str, ...] = (), needs_video: bool = True
) -> Listing:
    """List what a user gave as input; at most a page of a store's listing is in memory.

    A folder or prefix is searched through (`liser_ray.storage.listing.walk`). Of a manifest (``.parquet``, ``.csv``)
    the column ``uri`` counts, relative to the manifest's folder; its other columns are carried along with their types,
    dictionary columns as their values (a CSV's are text, as they stand there). A row whose file is not there is a
    `Recording` with a problem. Of rows that name the same recording the first is kept, so that nothing is labeled
    twice. A published set of labeled speech, such as ``ravdess:<folder>``, has label and speaker as columns. What lies
    outside of the roots (see `liser_ray.storage.roots.roots_of`) has the problem DENIED.

    Args:
        input_uri: folder, file or manifest; a local path or an ``s3://`` URI.
        skip_uri: a folder or prefix that is left out without counting: the job's own output below its input.
        needs_video: whether files of sound are left alone.

    Raises:
        UserError: if the input does not exist, can't be listed, holds no video, or is a manifest without ``uri``;
            while iterating as well.
    """
    uri = input_address(input_uri)
    if uri != input_folder(uri):
        return _list_labeled(uri, roots)
    file = _find_file(uri)
    if file is not None:
        return _list_manifest(uri, roots) if is_manifest(uri) else Listing(iter([_recording(file)]), total=1)
    listing = Listing()
    suffixes = VIDEO_SUFFIXES if needs_video else VIDEO_SUFFIXES.union(SOUND_SUFFIXES)
    listing.recordings = _keep_recordings(listing, uri, walk(uri, roots), skip_uri and absolute(skip_uri), suffixes)
    return listing


def _list_labeled(spec: str, roots: tuple[str, ...]) -> Listing:
    found = read_labeled_set(spec).utterances
    columns = pa.schema([("label", pa.string()), ("speaker", pa.string())])
    rows = ((one.uri, (one.label, one.speaker)) for one in found)
    return Listing(reach_all(rows, roots), columns, total=len(found))


def reach_all(rows: Iterable[tuple[str, tuple[Any, ...]]], roots: tuple[str, ...] = ()) -> Iterator[Recording]:
    """The recording at each address as it is now, or its problem, with the other values of its row; many at once."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for (_, extra), future in in_order(lambda row: threads.submit(look, row[0], roots), rows, 16 * _AT_ONCE):
            yield _recording(future.result(), extra)


def _recording(found: Found, extra: tuple[Any, ...] = ()) -> Recording:
    if found.error is None:
        problem = None if found.size_bytes else Problem(Stage.PLAN, Reason.EMPTY, "0 bytes")
        return Recording(found.uri, found.size_bytes, found.version, extra, problem)
    reasons = {FileNotFoundError: Reason.MISSING, PermissionError: Reason.DENIED}
    reason = reasons.get(type(found.error), Reason.READ_ERROR)
    return Recording(found.uri, 0, "", extra, Problem(Stage.PLAN, reason, str(found.error)))


def _find_file(uri: str) -> Found | None:
    """The input if it is one file, None if it is a folder or prefix; a `UserError` if it is neither."""
    if os.path.isdir(uri) or (is_s3(uri) and not split(uri)[1]):
        return None
    found = look(uri)
    if found.error and is_s3(uri):
        return None  # a prefix; else the listing says in the store's words what is wrong
    if found.error:
        raise UserError(f"The input {uri} can't be read: {found.error}. Give a folder, a file or s3://…")
    return found


def _keep_recordings(
    listing: Listing, root: str, files: Iterator[Found], skip: str | None, suffixes: frozenset[str]
) -> Iterator[Recording]:
    skips = skip is not None and skip != root and is_below(skip, root)  # else the input lies in the output, or is it
    n_found = 0
    for found in files:
        if skips and is_below(found.uri, str(skip)):
            continue
        is_link_to_folder = found.uri.endswith("/")
        if not is_link_to_folder and posixpath.splitext(found.uri)[1].lower() not in suffixes:
            listing.ignored_files += 1
            continue
        n_found += 1
        yield _recording(found)
    if not n_found and not listing.ignored_files and is_s3(root):
        raise UserError(f"{root}: no object has this key, and none lies below it. Check bucket and prefix.")
    if not n_found:
        raise UserError(
            f"{root}: no recordings found among {listing.ignored_files} files. Known suffixes: "
            f"{' '.join(sorted(suffixes))}. Files with others can be listed in a manifest."
        )


def _list_manifest(uri: str, roots: tuple[str, ...]) -> Listing:
    manifest = Manifest(uri, needed=["uri"])
    if manifest.schema.field("uri").type not in _TEXT:
        raise manifest.no_text("uri")
    extra = pa.schema([one for one in manifest.schema if one.name != "uri"])
    listing = Listing(extra_schema=extra, total=manifest.total)

    def new_rows() -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Address and other values of each row, the first of each address only."""
        seen: set[int] = set()  # hashes of 64 bits: the addresses themselves would take several times the memory
        place = manifest.schema.names.index("uri")
        for number, row in enumerate(manifest.rows(), start=1):
            if not row[place]:
                raise UserError(f"The manifest {uri}: row {number} has no uri. Fill it in or take the row out.")
            address = manifest.resolve(row[place])
            if hash(address) in seen:
                listing.duplicates += 1
                continue
            seen.add(hash(address))
            yield address, row[:place] + row[place + 1 :]

    listing.recordings = reach_all(new_rows(), roots)
    return listing
