"""The bytes of one recording, by ranged reads: what FFmpeg reads from in place of a file."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.waveform import WaveformError
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import is_s3
from liser_ray.storage.files import filesystem
from liser_ray.storage.retries import READ_PATIENCE_S, read_exactly, retried
from liser_ray.storage.roots import open_local, refusal

LOCAL_BLOCK_BYTES = 256 << 10
REMOTE_BLOCK_BYTES = 2 << 20  # a request takes some 30 ms whatever its size; 2 MiB are about that long on the wire
_RECENT_BLOCKS = 8  # sound and picture may lie apart: reads then alternate between places
_HEADER_BLOCKS = 16
_PIECE_BYTES = 16 << 10  # the index of a fragment of 10 s
_HEADER_PIECES = 4096
_FFMPEG_READS_BYTES = 64 << 10  # at most


class Source:
    """A seekable, read-only file object over a path or an ``s3://`` URI; holds at most 24 blocks and 64 MiB in memory.

    What is read while ``in_header`` is set is kept until the end: opening the container again for the next span
    then costs no request. The first blocks are kept whole, of later ones the pieces that were asked for: a fragmented
    MP4 has no index but those of its fragments, so that FFmpeg visits each of them, all over the file.
    """

    def __init__(self, uri: str, roots: tuple[str, ...] = ()):
        """Open the object, which must lie below the roots (`liser_ray.storage.roots`) if there are any.

        Raises:
            MediaError: MISSING, EMPTY, DENIED, NOT_MEDIA (a folder) or READ_ERROR.
        """
        self.uri = uri
        try:
            self._file = _open(uri, roots)
            self.size_bytes = int(self._file.size())
        except UserError as error:  # no credentials on this machine: the row's problem, not the job's
            raise MediaError(Reason.DENIED, str(error)) from error
        except (OSError, pa.ArrowException) as error:
            raise _as_media_error(uri, error) from error
        if self.size_bytes == 0:
            self._file.close()
            raise MediaError(Reason.EMPTY, f"{uri} has 0 bytes")
        self.in_header = False
        self.error: Exception | None = None  # demuxers may take a failed read for the end of the file
        self._block_bytes = REMOTE_BLOCK_BYTES if is_s3(uri) else LOCAL_BLOCK_BYTES
        self._header: dict[int, bytes] = {}
        self._pieces: dict[int, bytes] = {}  # by position; opened again, FFmpeg asks for the same ones
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._read_until = 0

    def read(self, n_bytes: int) -> bytes:
        """Up to ``n_bytes`` from here on; b"" at the end. Part of the file object that PyAV wants."""
        index, offset = divmod(self._position, self._block_bytes)
        if n_bytes <= 0 or self._position >= self.size_bytes:
            return b""
        if self._position in self._pieces:
            data = self._pieces[self._position][:n_bytes]
        elif self.in_header and self._is_piece(index, n_bytes):
            data = self._piece(index, offset, min(n_bytes, _PIECE_BYTES))
        else:
            data = self._block(index)[offset : offset + n_bytes]
        self._position += len(data)
        self._read_until = self._position
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte; returns where that is."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read starts."""
        return self._position

    def check(self) -> None:
        """Raise MediaError (READ_ERROR, DENIED ...) if any read so far failed."""
        if self.error is not None:
            raise _as_media_error(self.uri, self.error) from self.error

    def release(self) -> None:
        """Close the file. Not named `close`: each container would call that, and the next one reads on."""
        self._file.close()

    def _is_piece(self, index: int, n_bytes: int) -> bool:
        """Whether a read looks for an index: not one that searches the whole file."""
        return index not in self._header and len(self._header) >= _HEADER_BLOCKS and n_bytes <= _FFMPEG_READS_BYTES

    def _block(self, index: int) -> bytes:
        for blocks in (self._header, self._recent):
            if index in blocks:
                return blocks[index]
        data = self._fetch(index * self._block_bytes, self._block_bytes)
        if self.in_header and len(self._header) < _HEADER_BLOCKS:
            self._header[index] = data
            return data
        self._recent[index] = data
        if len(self._recent) > _RECENT_BLOCKS:
            self._recent.popitem(last=False)
        return data

    def _piece(self, index: int, offset: int, n_bytes: int) -> bytes:
        """A part of a block, kept; the others of the block are fetched too if FFmpeg may well ask for them next."""
        far = abs(self._position - self._read_until) > self._block_bytes // 2
        if far and index not in self._recent:
            data = self._fetch(self._position, n_bytes)
        else:
            data = self._block(index)[offset : offset + n_bytes]
        if len(self._pieces) < _HEADER_PIECES:
            self._pieces[self._position] = data
        return data

    def _fetch(self, start: int, n_bytes: int) -> bytes:
        n_bytes = min(n_bytes, self.size_bytes - start)
        try:
            return retried(lambda: read_exactly(self._file, start, n_bytes), READ_PATIENCE_S)
        except Exception as error:
            self.error = error
            raise


@contextmanager
def sound_source(uri: str) -> Iterator[Source]:
    """An open `Source` for `decode_waveform`; what is wrong with it is a `WaveformError` ("empty" or "unreadable")."""
    try:
        source = Source(uri)
        try:
            yield source
        finally:
            try:
                source.check()  # demuxers take a failed read for the end of the file
            finally:
                source.release()
    except MediaError as error:
        reason = "empty" if error.reason is Reason.EMPTY else "unreadable"
        raise WaveformError(reason, "0 bytes" if error.reason is Reason.EMPTY else error.detail) from error


def _open(uri: str, roots: tuple[str, ...]) -> pa.NativeFile:
    fs, path = filesystem(uri)
    if roots and not is_s3(uri):
        return open_local(path, roots)
    if why := refusal(uri, roots):
        raise PermissionError(why)
    return fs.open_input_file(path)


def _as_media_error(uri: str, error: Exception) -> MediaError:
    """The reason behind a failed open or read; S3's answers come as OSError with AWS's code in the text."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return MediaError(Reason.MISSING, "there is no such file")
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in text or "HTTP response code 403" in text:
        reason = Reason.DENIED
    elif isinstance(error, IsADirectoryError) or "is a directory" in text.lower():
        reason = Reason.NOT_MEDIA
    else:
        reason = Reason.READ_ERROR
    return MediaError(reason, f"{uri}: {text}")
