"""What an address names, as a local file or folder: weights and models from a path, S3 or the Hugging Face hub."""

import hashlib
import http.client
import os
import posixpath
import shutil
import tempfile
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.fs as pafs
from huggingface_hub.errors import LocalEntryNotFoundError

from liser_ray.runtime.errors import UserError
from liser_ray.runtime.redaction import refuse_credentials
from liser_ray.storage.addresses import absolute, is_s3
from liser_ray.storage.files import filesystem, list_files
from liser_ray.storage.retries import BROKE_OFF, retried

_HUB = "hf://"
_WEB = "https://"
_TIMEOUT_S = 30.0


def fetch(uri: str, hint: str = "") -> Path:
    """A local file or folder with what the address names.

    Args:
        uri: a local path; ``s3://bucket/key`` (a file or a prefix), kept below ``~/.cache/liser_ray`` (or
            ``LISER_CACHE``); ``hf://owner/name/path/in/repo`` (a file) or ``hf://owner/name`` (all files), kept in the
            Hugging Face cache (``HF_HOME``), where ``owner/name@revision`` pins a version; ``https://`` (a file), kept
            as those of S3.
        hint: added to the error: what to get instead and which option names it.

    Raises:
        UserError: if there is nothing or it can't be had.
    """
    if not uri:
        raise UserError(f"No weights given. {hint}".rstrip())
    if uri.startswith(_HUB):
        return _fetch_from_hub(uri, hint)
    if uri.startswith(_WEB):
        return _fetch_from_web(uri, hint)
    if is_s3(uri):
        return _fetch_from_s3(uri, hint)
    path = Path(absolute(uri))
    if not path.exists():
        raise UserError(f"Weights not found: {path} does not exist. {hint}".rstrip())
    return path


def cache_folder() -> Path:
    """Where what was fetched is kept on this machine, beside the hub's own cache; it need not be there yet."""
    return Path(os.environ.get("LISER_CACHE") or "~/.cache/liser_ray").expanduser()


def files_on_hub(uri: str) -> list[str]:
    """Names of the files in a repository ``hf://owner/name`` of the hub.

    Raises:
        UserError: it can't be reached, or there is no such repository.
    """
    repo, _, revision = _parts(uri)
    try:
        about = huggingface_hub.model_info(repo, revision=revision or None, timeout=_TIMEOUT_S)
        return sorted(file.rfilename for file in about.siblings or ())
    except Exception as error:  # see below
        raise UserError(f"the hub can't be asked ({type(error).__name__}).") from error


def _parts(uri: str) -> tuple[str, str, str]:
    """Repository, file and revision of an ``hf://`` address; the last two may be empty."""
    owner, _, rest = uri.removeprefix(_HUB).partition("/")
    name, _, filename = rest.strip("/").partition("/")
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise UserError(f"{uri}: give hf://owner/name or hf://owner/name/path/of/file.")
    return f"{owner}/{name}", filename, revision


def _fetch_from_web(uri: str, hint: str) -> Path:
    refuse_credentials(uri)
    key = hashlib.sha256(uri.encode()).hexdigest()[:16]
    target = cache_folder() / "web" / key / posixpath.basename(urllib.parse.urlparse(uri).path)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, suffix=".tmp") as temporary:
            copy = Path(temporary, target.name)
            with urllib.request.urlopen(uri, timeout=_TIMEOUT_S) as answer, copy.open("wb") as sink:
                shutil.copyfileobj(answer, sink, 1 << 20)
                expected = answer.headers.get("Content-Length")
            n_bytes = copy.stat().st_size
            if expected and n_bytes != int(expected):  # to copyfileobj an answer that breaks off is no error
                raise OSError(f"{BROKE_OFF} after {n_bytes} of {expected} bytes")
            copy.rename(target)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{uri} can't be fetched: {error}. Download it where there is a network, and give its path. {hint}".rstrip()
        ) from error
    return target


def _fetch_from_hub(uri: str, hint: str) -> Path:
    repo, filename, revision = _parts(uri)
    try:
        if filename:
            return Path(huggingface_hub.hf_hub_download(repo, filename, revision=revision or None))
        # Many speech models come in four frameworks' formats: take PyTorch's alone.
        others = ["*.h5", "*.msgpack", "*.ot"]
        return Path(huggingface_hub.snapshot_download(repo, revision=revision or None, ignore_patterns=others))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{uri} is not in the Hugging Face cache and the hub can't be reached. Download it where there is a "
            f"network (hf download {repo}), and copy the cache or give the path of the file. {hint}".rstrip()
        ) from error
    except Exception as error:  # the hub's own, or its HTTP library's, which is not the same in all versions
        raise UserError(f"{uri} can't be fetched: {error} {hint}".rstrip()) from error


def _fetch_from_s3(uri: str, hint: str) -> Path:
    uri = absolute(uri)
    try:
        fs, path = filesystem(uri)
        info = fs.get_file_info(path)
        files = [info] if info.type == pafs.FileType.File else list_files(uri)
        if not files:
            raise UserError(f"Weights not found: nothing at {uri}. {hint}".rstrip())
        # Size and time are part of the name: an object that was replaced is fetched again.
        facts = [uri, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""]
        facts += [f"{file.path} {file.size} {file.mtime_ns}" for file in files]
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
        target = cache_folder() / "s3" / key / Path(path).name
        if not target.exists():
            _download(fs, path, files, target)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{uri} can't be read: {error}. {hint}".rstrip()) from error
    return target


def _download(fs: pafs.FileSystem, path: str, files: list[pafs.FileInfo], target: Path) -> None:
    """Copy to a temporary folder and rename, so that several workers of a node may do it at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, suffix=".tmp") as temporary:
        copy = Path(temporary, target.name)
        for file in files:
            destination = copy / file.path[len(path) :].strip("/")  # the copy itself for a single file
            destination.parent.mkdir(parents=True, exist_ok=True)
            retried(partial(_copy, fs, file, destination))
        try:
            copy.rename(target)
        except OSError:
            if not target.exists():  # another worker was faster with a folder
                raise


def _copy(fs: pafs.FileSystem, file: pafs.FileInfo, destination: Path) -> None:
    with fs.open_input_stream(file.path) as source, destination.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    n_bytes = destination.stat().st_size
    if n_bytes != file.size:  # to pyarrow an answer that breaks off in its head is no error
        raise OSError(f"{BROKE_OFF} after {n_bytes} of {file.size} bytes")


def sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes; of a folder: of its files' names and digests, in order, without hidden ones."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        # A hub snapshot has .gitattributes and such, a copy of the same model often not.
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()
