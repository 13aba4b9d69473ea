"""What there is to label: recordings in a folder, below an S3 prefix, in a list, or one file."""

import os
import posixpath
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa

from liser_ray.corpora import mspface
from liser_ray.corpora.labeled import input_address, input_folder, list_labeled_set
from liser_ray.corpora.manifest import TEXT, Manifest, is_manifest
from liser_ray.corpora.ordered import in_order
from liser_ray.corpora.published import SOUND_SUFFIXES
from liser_ray.corpora.segments import SEGMENT_COLUMNS, WHOLE, Segment
from liser_ray.media.container import VIDEO_SUFFIXES
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_below, is_s3, split
from liser_ray.storage.listing import Found, look, walk
from liser_ray.storage.roots import roots_of

_AT_ONCE = 64  # requests: an S3 store takes 20 to 100 ms for each
_SEGMENT_FIELDS = [pa.field(name, pa.float64()) for name in SEGMENT_COLUMNS]

Listed: TypeAlias = tuple[str, Segment, tuple[Any, ...]]
"""What a list says of a recording: its file's address, where in it, and its values in further columns."""


@dataclass(frozen=True)
class Recording:
    """One recording as the store lists it (see `Found`), before any byte of it is read."""

    uri: str  # of its file
    size_bytes: int  # of its file; 0 if it can't be reached
    version: str
    extra: tuple[Any, ...] = ()  # values of the manifest's other columns, in the order of `Listing.extra_schema`
    problem: Problem | None = None  # why it can't be labeled, as far as that is known without a look inside
    segment: Segment = WHOLE  # where in its file it is


@dataclass
class Listing:
    """The recordings of an input, once over, in a stable order, and what was met on the way, so far."""

    recordings: Iterator[Recording] = field(default_factory=lambda: iter(()))
    extra_schema: pa.Schema = field(default_factory=lambda: pa.schema([]))  # types of `Recording.extra`
    total: int | None = None  # how many there will be, where that is known at the start
    ignored_files: int = 0  # passed over because of their suffix
    duplicates: int = 0  # rows of a list passed over because an earlier one names the same recording
    gone: int = 0  # recordings of a published list passed over because their file is not there


def list_recordings(
    input_uri: str,
    skip_uri: str | None = None,
    roots: tuple[str, ...] = (),
    needs_video: bool = True,
    media_folder: str = "",
) -> Listing:
    """List what a user gave as input; at most a page of a store's listing is in memory.

    A folder or prefix is searched through (`liser_ray.storage.listing.walk`). Of a manifest (see
    `liser_ray.corpora.manifest`) a row is a recording: a file, or a segment of it, whose place is then in two further
    columns (`SEGMENT_COLUMNS`). Its other columns are carried along with their types, dictionary columns as their
    values (those of text are text, as they stand there). A row whose file is not there is a `Recording` with a
    problem. Of rows that name the same recording the first is kept, so that nothing is labeled twice. A published set
    of labeled speech, such as ``ravdess:<folder>``, has label and speaker as columns, and text where it tells what is
    said; of the lists of MSP-Face (``mspface:<folder>``) the segments are listed whose videos are in the media folder.
    What lies outside of the roots (see `input_roots`) has the problem DENIED.

    Args:
        input_uri: folder, file or list; a local path or an ``s3://`` URI.
        skip_uri: a folder or prefix that is left out without counting: the job's own output below its input.
        needs_video: whether files of sound are left alone.
        media_folder: where the files of a list are; empty: in its own folder.

    Raises:
        UserError: if the input does not exist, can't be listed, holds no video, or is a list that can't be read; while
            iterating as well.
    """
    uri = input_address(input_uri)
    suffixes = VIDEO_SUFFIXES if needs_video else VIDEO_SUFFIXES.union(SOUND_SUFFIXES)
    if uri.startswith(f"{mspface.NAME}:"):
        return _list_mspface(input_folder(uri), media_folder, roots, suffixes)
    is_set = uri != input_folder(uri)
    file = None if is_set else _find_file(uri)
    if file is not None and is_manifest(uri):
        return _list_manifest(uri, roots, media_folder and absolute(media_folder))
    if media_folder:
        raise UserError(f"--media_folder is for lists, whose recordings lie there; {input_uri} is none. Leave it out.")
    if is_set:
        return _list_labeled(uri, roots, needs_video)
    if file is not None:
        return Listing(iter([_recording(file)]), total=1)
    listing = Listing()
    listing.recordings = _keep_recordings(listing, uri, walk(uri, roots), skip_uri and absolute(skip_uri), suffixes)
    return listing


def input_roots(input_uri: str, media_folder: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """The roots (see `liser_ray.storage.roots`) of an input, with what else is allowed."""
    if media_folder:
        return (absolute(media_folder), *map(absolute, allowed))
    return roots_of(input_folder(input_uri), allowed)


def _list_labeled(spec: str, roots: tuple[str, ...], needs_video: bool) -> Listing:
    found = list_labeled_set(spec).utterances
    if needs_video and not any(one.uri.lower().endswith(tuple(VIDEO_SUFFIXES)) for one in found):
        raise UserError(
            f"{spec} is read as sound, such as {found[0].uri}, and a face is required: give the folder of its videos, "
            "a list of them, or --require only teachers of sound."
        )
    names = ["label", "speaker", *([TEXT] if any(one.text for one in found) else [])]
    columns = [pa.field(name, pa.string()) for name in names]
    in_files = _SEGMENT_FIELDS if any(one.segment != WHOLE for one in found) else []
    rows = (
        (one.uri, one.segment, (*(one.segment if in_files else ()), *(getattr(one, name) for name in names)))
        for one in found
    )
    listing = Listing(extra_schema=pa.schema([*in_files, *columns]), total=len(found))
    listing.recordings = reach_all(_once(listing, rows), roots)
    return listing


def _list_mspface(lists: str, media_folder: str, roots: tuple[str, ...], suffixes: Collection[str]) -> Listing:
    if not media_folder:
        raise UserError(f"{mspface.NAME}:{lists} is of lists alone: give --media_folder, where the videos lie.")
    rows = mspface.read_segments(lists)
    files = (posixpath.splitext(one.uri) for one in walk(absolute(media_folder), roots))
    videos = {posixpath.basename(stem): stem + suffix for stem, suffix in files if suffix.lower() in suffixes}
    listed = [(videos[name], segment, (*segment, *values)) for name, segment, values in rows if name in videos]
    if not listed:
        raise UserError(
            f"{media_folder} has none of the {len({name for name, *_ in rows}):,} videos of the lists in {lists}: "
            f"their files are called as there, {rows[0][0] if rows else 'MSP-FACE_0001'} with any suffix."
        )
    schema = pa.schema([*_SEGMENT_FIELDS, *mspface.COLUMNS])
    listing = Listing(extra_schema=schema, total=len(listed), gone=len(rows) - len(listed))
    listing.recordings = reach_all(_once(listing, listed), roots)
    return listing


def _once(listing: Listing, rows: Iterable[Listed]) -> Iterator[Listed]:
    """Each file, or part of a file, once: of two spans with one id a job would not come to its end."""
    seen: set[int] = set()  # hashes of 64 bits: the addresses themselves would take several times the memory
    for row in rows:
        recording = hash(row[:2])
        if recording in seen:
            listing.duplicates += 1
        else:
            seen.add(recording)
            yield row


def reach_all(rows: Iterable[Listed], roots: tuple[str, ...] = ()) -> Iterator[Recording]:
    """The recording of each row as it is now, or its problem; many at once, and a file once for all that follow it."""
    last: tuple[str, Future[Found]] | None = None

    with ThreadPoolExecutor(_AT_ONCE) as threads:

        def find(row: Listed) -> Future[Found]:
            nonlocal last
            if last is None or last[0] != row[0]:
                last = row[0], threads.submit(look, row[0], roots)
            return last[1]

        for (_, segment, extra), future in in_order(find, rows, 16 * _AT_ONCE):
            yield _recording(future.result(), extra, segment)


def _recording(found: Found, extra: tuple[Any, ...] = (), segment: Segment = WHOLE) -> Recording:
    if found.error is None:
        problem = None if found.size_bytes else Problem(Stage.PLAN, Reason.EMPTY, "0 bytes")
        return Recording(found.uri, found.size_bytes, found.version, extra, problem, segment)
    reasons = {FileNotFoundError: Reason.MISSING, PermissionError: Reason.DENIED}
    reason = reasons.get(type(found.error), Reason.READ_ERROR)
    return Recording(found.uri, 0, "", extra, Problem(Stage.PLAN, reason, str(found.error)), segment)


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


def _list_manifest(uri: str, roots: tuple[str, ...], media_folder: str) -> Listing:
    manifest = Manifest(uri, folder=media_folder, hint="A column uri, path or file names the files.")
    in_files = _SEGMENT_FIELDS if manifest.has_segments else []
    listing = Listing(extra_schema=pa.schema([*in_files, *manifest.schema]), total=manifest.total)
    rows = ((row.uri, row.segment, (*(row.segment if in_files else ()), *row.values)) for row in manifest.rows())
    listing.recordings = reach_all(_once(listing, rows), roots)
    return listing
