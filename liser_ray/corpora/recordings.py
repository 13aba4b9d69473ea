"""What there is to label: recordings in a folder, below an S3 prefix, in a manifest, or one file."""

import errno
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from liser_ray.corpora.ordered import in_order
from liser_ray.media.container import VIDEO_SUFFIXES
from liser_ray.media.outcome import MediaError, Problem, Reason, Stage
from liser_ray.runtime.errors import UserError
from liser_ray.storage import s3
from liser_ray.storage.files import filesystem, has_empty_part, is_s3, normalise, resolve
from liser_ray.storage.roots import refusal

MANIFEST_SUFFIXES = frozenset({".parquet", ".csv"})

_BATCH_ROWS = 4096  # of a Parquet manifest, held at a time
_EMPTY_PART = "its key has an empty part (//), with which it can't be opened; rename the object"


@dataclass(frozen=True)
class Recording:
    """One recording as the store lists it, before any byte of it is read.

    Attributes:
        uri: absolute path or ``s3://bucket/key``.
        size_bytes: 0 if it can't be reached.
        version: the ETag on S3, the time of the last change in ns of a local file; "" if it can't be reached.
        extra: the values of the manifest's other columns, in the order of `Listing.extra_schema`.
        problem: why it can't be reached, where the manifest names it all the same.
    """

    uri: str
    size_bytes: int
    version: str
    extra: tuple[Any, ...] = ()
    problem: Problem | None = None


@dataclass
class Listing:
    """The recordings of an input, once over, in a stable order, and what was met on the way.

    Attributes:
        recordings: an iterator; at no time is more than a page of the store's listing in memory.
        extra_schema: types of `Recording.extra`; empty but for manifests.
        total: how many there will be, where that is known at the start.
        ignored_files: files passed over so far because their suffix is none of `VIDEO_SUFFIXES`.
        duplicates: rows of the manifest passed over so far because an earlier row names the same recording.
    """

    recordings: Iterator[Recording] = field(default_factory=lambda: iter(()))
    extra_schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    total: int | None = None
    ignored_files: int = 0
    duplicates: int = 0


def list_recordings(
    input_uri: str, skip_uri: str | None = None, page_size: int = 1000, roots: tuple[str, ...] = ()
) -> Listing:
    """List what a user gave as input.

    A folder or prefix is searched through, in the order of the paths' bytes (so that a folder and its copy on S3 come
    in the same order); hidden files and folders are left out. Of a manifest (``.parquet``, ``.csv``) the column
    ``uri`` counts, relative to the manifest's folder; its other columns are carried along with their types, dictionary
    columns as their values (a CSV's are text, as they stand there). A row whose file is not there is a `Recording`
    with a problem. Of rows that name the same recording the first is kept, so that nothing is labeled twice. What lies
    outside of the roots is not looked at: it has the problem DENIED.

    Args:
        input_uri: folder, file or manifest; a local path or an ``s3://`` URI.
        skip_uri: a folder or prefix that is left out without counting: the job's own output below its input.
        page_size: keys asked for at a time on S3.
        roots: see `liser_ray.storage.roots.roots_of`; empty: anywhere.

    Raises:
        UserError: if the input does not exist, can't be listed, holds no video, or is a manifest without ``uri``;
            while iterating as well.
    """
    uri = normalise(input_uri)
    skip = normalise(skip_uri) if skip_uri else None
    facts = _find_file(uri)
    if facts is not None:
        if posixpath.splitext(uri)[1].lower() in MANIFEST_SUFFIXES:
            return _list_manifest(uri, roots)
        return Listing(iter([Recording(uri, *facts)]), total=1)
    listing = Listing()
    files = _walk_s3(uri, page_size) if is_s3(uri) else _walk_folder(Path(uri), roots)
    listing.recordings = _keep_videos(listing, files, uri, skip)
    return listing


def _find_file(uri: str) -> tuple[int, str] | None:
    """Size and version if the input is one file, None if it is a folder or prefix; a `UserError` if it is neither."""
    if is_s3(uri):
        return s3.head(uri) if s3.split(uri)[1] else None
    try:
        if os.path.isdir(uri):
            return None
        return _stat_local(uri)
    except OSError as error:
        raise UserError(f"The input {uri} can't be read: {error.strerror}. Give a folder, a file or s3://…") from error


def _stat_local(path: str) -> tuple[int, str]:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a file")
    return found.st_size, str(found.st_mtime_ns)


def _keep_videos(
    listing: Listing, files: Iterator[Recording], root: str, skip: str | None = None
) -> Iterator[Recording]:
    if skip and not skip.startswith(root.rstrip("/") + "/"):
        skip = None  # the input lies in the output, or is it
    found = 0
    for recording in files:
        if skip and recording.uri.startswith(skip + "/"):
            continue
        is_link_to_folder = recording.uri.endswith("/")
        if not is_link_to_folder and posixpath.splitext(recording.uri)[1].lower() not in VIDEO_SUFFIXES:
            listing.ignored_files += 1
            continue
        found += 1
        yield recording
    if not found and not listing.ignored_files and is_s3(root):
        raise UserError(f"{root}: no object has this key, and none lies below it. Check bucket and prefix.")
    if not found:
        raise UserError(
            f"{root}: no videos found among {listing.ignored_files} files. Known suffixes: "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}. Files with others can be listed in a manifest."
        )


def _walk_s3(uri: str, page_size: int) -> Iterator[Recording]:
    bucket, prefix = s3.split(uri)
    for record in s3.list_objects(bucket, prefix + "/" if prefix else "", page_size):
        key = record["Key"]
        inner = key.removeprefix(prefix + "/")
        # Keys that end with a slash are what some tools leave for a folder.
        if key.endswith("/") or any(part.startswith(".") for part in inner.split("/")):
            continue
        address = f"s3://{bucket}/{key}"
        if has_empty_part(address):
            yield _unreachable(address, Reason.MISSING, _EMPTY_PART, ())
        else:
            yield Recording(address, int(record["Size"]), s3.etag(record))


def _walk_folder(folder: Path, roots: tuple[str, ...], above: tuple[str, ...] = ()) -> Iterator[Recording]:
    real = os.path.realpath(folder)
    if real in above:  # a symbolic link that leads back up
        return
    try:
        with os.scandir(folder) as entries:
            # A folder sorts as its path does in its files' paths: with the slash.
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name) + b"/" * entry.is_dir())
    except OSError as error:
        raise UserError(
            f"The folder {folder} can't be listed: {error.strerror}. Change its rights or move it."
        ) from error
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and (why := refusal(entry.path, roots)):
            yield _unreachable(entry.path + "/" * entry.is_dir(), Reason.DENIED, why, ())
        elif entry.is_dir():
            yield from _walk_folder(Path(entry.path), roots, (*above, real))
        else:
            yield _local_recording(entry.path)


def _local_recording(path: str, extra: tuple[Any, ...] = ()) -> Recording:
    try:
        path.encode()
    except UnicodeEncodeError:
        readable = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return _unreachable(readable, Reason.READ_ERROR, "its name is not valid UTF-8; rename the file", extra)
    try:
        return Recording(path, *_stat_local(path), extra)
    except FileNotFoundError:
        return _unreachable(path, Reason.MISSING, "no such file", extra)
    except PermissionError as error:
        return _unreachable(path, Reason.DENIED, str(error), extra)
    except OSError as error:
        return _unreachable(path, Reason.READ_ERROR, str(error), extra)


def _unreachable(uri: str, reason: Reason, detail: str, extra: tuple[Any, ...]) -> Recording:
    return Recording(uri, 0, "", extra, Problem(Stage.PLAN, reason, detail))


def _list_manifest(uri: str, roots: tuple[str, ...]) -> Listing:
    try:
        schema, total, batches = _open_csv(uri) if uri.lower().endswith(".csv") else _open_parquet(uri)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The manifest {uri} can't be read: {error}") from error
    if "uri" not in schema.names:
        raise UserError(f"The manifest {uri} has no column 'uri'. It has: {', '.join(schema.names) or 'none'}.")
    if _plain(schema.field("uri").type) not in (pa.string(), pa.large_string(), pa.string_view()):
        raise UserError(f"The manifest {uri}: its column 'uri' is {schema.field('uri').type}, not text.")
    if len(set(schema.names)) < len(schema.names):
        raise UserError(f"The manifest {uri} has two columns of the same name. Rename one.")
    extra = pa.schema([pa.field(one.name, _plain(one.type)) for one in schema if one.name != "uri"])
    listing = Listing(extra_schema=extra, total=total)
    listing.recordings = reachs(_new_rows(listing, uri, batches), roots)
    return listing


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _open_parquet(uri: str) -> tuple[pa.Schema, int, Iterable[pa.RecordBatch]]:
    file = pq.ParquetFile(_open(uri))
    return file.schema_arrow, file.metadata.num_rows, file.iter_batches(_BATCH_ROWS)


def _open_csv(uri: str) -> tuple[pa.Schema, None, Iterable[pa.RecordBatch]]:
    # As text: types guessed from the first rows would turn speaker "007" into 7, and break at a later row.
    with pacsv.open_csv(_open(uri)) as reader:
        names = reader.schema.names
    options = pacsv.ConvertOptions(column_types={name: pa.string() for name in names})
    reader = pacsv.open_csv(_open(uri), convert_options=options)
    return reader.schema, None, reader


def _open(uri: str) -> pa.NativeFile:
    fs, path = filesystem(uri)
    return fs.open_input_file(path)


def _new_rows(
    listing: Listing, manifest: str, batches: Iterable[pa.RecordBatch]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Address and other values of each row, the first of each address only."""
    seen: set[int] = set()  # hashes of 64 bits: the addresses themselves would take several times the memory
    folder = posixpath.dirname(manifest)
    number = 0
    try:
        for batch in batches:
            columns = [batch.column(name).to_pylist() for name in ("uri", *listing.extra_schema.names)]
            for uri, *extra in zip(*columns, strict=True):
                number += 1
                if not uri:
                    raise UserError(f"The manifest {manifest}: row {number} has no uri.")
                uri = resolve(uri, folder)
                key = hash(uri)
                if key in seen:
                    listing.duplicates += 1
                    continue
                seen.add(key)
                yield uri, tuple(extra)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The manifest {manifest} can't be read after row {number}: {error}") from error
    if not number:
        raise UserError(f"The manifest {manifest} has no rows.")


def reachs(rows: Iterable[tuple[str, tuple[Any, ...]]], roots: tuple[str, ...] = ()) -> Iterator[Recording]:
    """A recording for each row; many requests at once, since an S3 store takes 20 to 100 ms for each."""
    with ThreadPoolExecutor(s3.MAX_CONNECTIONS) as threads:
        for _, future in in_order(lambda row: threads.submit(reach, *row, roots), rows, 16 * s3.MAX_CONNECTIONS):
            yield future.result()


def reach(uri: str, extra: tuple[Any, ...], roots: tuple[str, ...] = ()) -> Recording:
    """The recording at an address as it is now; one that can't be reached, or lies outside of roots, has a problem."""
    if why := refusal(uri, roots):
        return _unreachable(uri, Reason.DENIED, why, extra)
    if not is_s3(uri):
        return _local_recording(uri, extra)
    if has_empty_part(uri):
        return _unreachable(uri, Reason.MISSING, _EMPTY_PART, extra)
    try:
        return Recording(uri, *s3.stat(uri), extra)
    except MediaError as error:
        return _unreachable(uri, error.reason, error.detail, extra)
