"""What lies at an address and below it: size and version of each file, whether on a disk or on S3."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import has_empty_part, is_s3, join, split
from liser_ray.storage.roots import refusal


@dataclass(frozen=True)
class Found:
    """A file or an object, before any byte of it is read."""

    uri: str  # absolute, or s3://bucket/key; of a link to a folder that may not be followed: with a slash behind
    size_bytes: int = 0
    version: str = ""  # the ETag on S3, the time of the last change in ns of a local file
    error: OSError | None = None  # why it can't be reached


def look(uri: str, roots: tuple[str, ...] = ()) -> Found:
    """The file at an absolute address as it is now; it must lie in the roots (`liser_ray.storage.roots`), if any.

    Raises:
        UserError: there are no S3 credentials.
    """
    try:
        if why := refusal(uri, roots):
            raise PermissionError(why)
        if has_empty_part(uri):
            raise FileNotFoundError("its key has an empty part (//), with which it can't be opened; rename the object")
        if is_s3(uri):
            from liser_ray.storage import s3  # boto3, for those who need it

            return Found(uri, *s3.stat(uri))
        uri.encode()
        facts = os.stat(uri)
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError
        return Found(uri, facts.st_size, str(facts.st_mtime_ns))
    except UnicodeEncodeError:
        readable = uri.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return Found(readable, error=OSError("its name is not valid UTF-8; rename the file"))
    except FileNotFoundError as error:
        return Found(uri, error=error if is_s3(uri) else FileNotFoundError("no such file"))
    except OSError as error:
        return Found(uri, error=error)


def walk(uri: str, roots: tuple[str, ...] = ()) -> Iterator[Found]:
    """All files below a folder or prefix, hidden ones left out, in the order of their paths' bytes.

    So a folder and its copy on S3 come in the same order. Links are followed, and a folder that several lead to is
    walked once; one that leads out of the roots (`liser_ray.storage.roots`), if there are any, has an error. At no time
    is more than a page of a store's listing, or one folder, in memory.

    Raises:
        UserError: while iterating: a folder can't be listed, no such bucket, access denied, no credentials.
    """
    return _walk_s3(uri) if is_s3(uri) else _walk_folder(uri, roots, set())


def _walk_s3(uri: str) -> Iterator[Found]:
    from liser_ray.storage import s3

    bucket, prefix = split(uri)
    prefix += "/" if prefix else ""
    for record in s3.list_objects(bucket, prefix):
        key = record["Key"]
        # Keys that end with a slash are what some tools leave for a folder.
        if key.endswith("/") or any(part.startswith(".") for part in key.removeprefix(prefix).split("/")):
            continue
        address = f"s3://{bucket}/{key}"
        yield look(address) if has_empty_part(address) else Found(address, int(record["Size"]), s3.etag(record))


def _walk_folder(folder: str, roots: tuple[str, ...], walked: set[int]) -> Iterator[Found]:
    place = hash(os.path.realpath(folder))  # the paths themselves would take several times the memory
    if place in walked:
        return
    walked.add(place)
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
        path = join(folder, entry.name)
        if entry.is_symlink() and (why := refusal(path, roots)):
            yield Found(path + "/" * entry.is_dir(), error=PermissionError(why))
        elif entry.is_dir():
            yield from _walk_folder(path, roots, walked)
        else:
            yield look(path)
