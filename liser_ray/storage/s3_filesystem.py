"""pyarrow's S3 file system with patience: what a busy store or a bad network breaks is tried again.

pyarrow retries single requests. It does not when a 503's text is longer than the range that was asked for, or when its
quota of retries is used up, and never an operation of several requests.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.fs as pafs
from botocore.exceptions import BotoCoreError

from liser_ray.storage.retries import BROKE_OFF, READ_PATIENCE_S, read_exactly, retried
from liser_ray.storage.s3 import S3Connection, connection

_ATTEMPTS = 5  # of pyarrow for each request
_WHOLE_BYTES = 1 << 20  # a larger file is not read at once


def s3_filesystem() -> pafs.PyFileSystem:
    """The file system of the store in the environment. Pickled, it holds no keys: each process has its own."""
    return pafs.PyFileSystem(_Handler())


def _pyarrow_filesystem() -> pafs.S3FileSystem:
    """pyarrow's own, with the credentials of this moment: a role's are renewed by boto3."""
    store = connection()
    try:
        keys = tuple(store.credentials.get_frozen_credentials()[:3]) if store.credentials else None
    except BotoCoreError as error:  # no OSError, which is all that is caught and put into words elsewhere
        raise PermissionError(f"the S3 credentials can't be renewed: {error}") from error
    return _connected(store, keys)


@functools.lru_cache(maxsize=4)
def _connected(store: S3Connection, keys: tuple[str, str, str | None] | None) -> pafs.S3FileSystem:
    access_key, secret_key, session_token = keys or (None, None, None)
    return pafs.S3FileSystem(
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        anonymous=keys is None,
        endpoint_override=store.endpoint,
        region=store.region,
        tls_ca_file_path=store.ca_bundle or None,
        allow_bucket_creation=False,
        check_directory_existence_before_creation=True,  # writes no marker above the folders that one may write to
        allow_delayed_open=True,  # a small file is one request, not the three of a multipart upload
        connect_timeout=min(10.0, store.timeout_s),
        request_timeout=store.timeout_s,  # seconds without a byte, on Linux too, whatever pyarrow's documentation says
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def _retrying(name: str) -> Callable[..., object]:
    def method(self: "_Handler", *arguments: object, **named: object) -> object:
        return retried(lambda: getattr(_pyarrow_filesystem(), name)(*arguments, **named))

    return method


class _Handler(pafs.FileSystemHandler):
    get_file_info = _retrying("get_file_info")
    get_file_info_selector = _retrying("get_file_info")
    delete_dir = _retrying("delete_dir")
    delete_dir_contents = _retrying("delete_dir_contents")
    copy_file = _retrying("copy_file")
    normalize_path = _retrying("normalize_path")

    def get_type_name(self) -> str:
        return "s3"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler)

    def __hash__(self) -> int:
        return hash(_Handler)

    def create_dir(self, path: str, recursive: bool) -> None:
        retried(lambda: _pyarrow_filesystem().create_dir(path, recursive=recursive))

    def delete_root_dir_contents(self) -> None:
        raise PermissionError("the buckets of an account are not for deleting")

    def delete_file(self, path: str) -> None:
        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):  # as in S3 itself; a try whose answer was lost has done it
                _pyarrow_filesystem().delete_file(path)

        retried(delete)

    def move(self, src: str, dest: str) -> None:
        self.copy_file(src, dest)
        self.delete_file(src)

    def open_output_stream(self, path: str, metadata: Mapping[str, str]) -> pa.NativeFile:
        fs = _pyarrow_filesystem()
        return retried(lambda: fs.open_output_stream(path, compression=None, metadata=metadata))

    def open_append_stream(self, path: str, metadata: Mapping[str, str]) -> pa.NativeFile:
        raise NotImplementedError("S3 has no appending")

    def open_input_file(self, path: str) -> pa.NativeFile:
        return retried(lambda: self._open(path), READ_PATIENCE_S)

    open_input_stream = open_input_file

    def _open(self, path: str) -> pa.NativeFile:
        """A small file is read at once: fewer requests, and its short ranges are those that pyarrow does not retry."""
        file = _pyarrow_filesystem().open_input_file(path)
        size_bytes = file.size()
        # The answer to HEAD may break off before the size, and then looks like that of an empty object.
        if size_bytes == 0 and _pyarrow_filesystem().get_file_info(path).size:
            raise OSError(f"{BROKE_OFF} when asked for the size of {path}")
        if size_bytes > _WHOLE_BYTES:
            return file
        with file:
            return pa.BufferReader(read_exactly(file, 0, size_bytes))
