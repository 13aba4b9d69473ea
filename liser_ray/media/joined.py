"""Files that are several files joined byte by byte: where each of them begins.

A demuxer plays the first of them, or goes on into the next one with the clock of the first; each is opened on its own
bytes. Transport and program streams have no beginning: `liser_ray.media.stretches` finds where their clock jumps.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from os import SEEK_CUR, SEEK_END, SEEK_SET

from liser_ray.media.container import ByteSource
from liser_ray.media.outcome import MediaError, Reason

MAX_SEARCH_BYTES = 512 << 20
"""Up to this size a file is read through for what its header does not tell."""

_MAX_FILES = 256
_STEP_BYTES = 16 << 10  # read at each element; FFmpeg asks for the same next
_BLOCK_BYTES = 256 << 10
_OVERLAP_BYTES = 64  # longer than what is searched for

_EBML = re.compile(rb"\x1a\x45\xdf\xa3(?:[\x81-\xfe]|\x01.{7})\x42\x86\x81\x01", re.DOTALL)
_FLV = re.compile(rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00")
_OGG = re.compile(rb"OggS\x00\x02\x00{8}.{12}\x01(.)", re.DOTALL)  # the first page of a track, and its length
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

_Element = Callable[[bytes], tuple[bool, int]]


class Part:
    """The bytes from one place to another, as a source of their own."""

    def __init__(self, source: ByteSource, first: int, end: int):
        self._source, self._first, self._n_bytes = source, first, end - first
        self._position = 0

    def read(self, n_bytes: int) -> bytes:
        """Up to so many bytes; b"" at the end."""
        n_bytes = min(n_bytes, self._n_bytes - self._position)
        if n_bytes <= 0:
            return b""
        self._source.seek(self._first + self._position)  # sources are shared
        data = self._source.read(n_bytes)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a byte; returns where that is."""
        base = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._n_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read starts."""
        return self._position


def files_in(source: ByteSource) -> list[tuple[int, int]]:
    """First byte and end of each file that these bytes hold, in order: of nearly all a single one.

    Elements of a stated size are stepped over. Where there are none (live WebM, Ogg, FLV), files up to
    `MAX_SEARCH_BYTES` are searched for another beginning.

    Raises:
        MediaError: TIMES_JUMP: there are more than 256; and what reading can raise.
    """
    n_bytes = source.seek(0, SEEK_END)
    head = Part(source, 0, n_bytes).read(32)
    starts = [0]
    for start in _beginnings(source, head, n_bytes):
        if start > 0:
            starts.append(start)
        if len(starts) > _MAX_FILES:
            raise MediaError(Reason.TIMES_JUMP, f"more than {_MAX_FILES} files joined in one")
    source.seek(0)
    return list(pairwise([*starts, n_bytes]))


def _beginnings(source: ByteSource, head: bytes, n_bytes: int) -> Iterator[int]:
    if head[4:8] == b"ftyp":
        yield from _stepped(source, n_bytes, _box)
    elif head.startswith(b"RIFF"):
        yield from _stepped(source, n_bytes, _riff)
    elif head.startswith(_ASF):
        yield from _stepped(source, n_bytes, _asf_object)
    elif _EBML.match(head):
        yield from _stepped(source, n_bytes, _ebml_element)
    elif _FLV.match(head):
        yield from (found.start() + at for at, found in _searched(source, 0, n_bytes, _FLV))
    elif head.startswith(b"OggS"):
        end = -1
        for at, found in _searched(source, 0, n_bytes, _OGG):
            start = at + found.start()
            if start != end:  # the tracks' first pages follow each other
                yield start
            end = at + found.end() + found[1][0]


def _stepped(source: ByteSource, n_bytes: int, element: _Element) -> Iterator[int]:
    """Where files begin, from element to element; searched for behind one that does not tell its size."""
    start, chunk, chunk_start = 0, b"", 0
    while start < n_bytes:
        if not chunk_start <= start <= chunk_start + len(chunk) - 32:
            source.seek(start)
            chunk, chunk_start = source.read(_STEP_BYTES), start
            if len(chunk) < 32:  # a source reads to the end of one of its blocks
                chunk += source.read(32)
        try:
            begins, size = element(chunk[start - chunk_start :][:32])
        except IndexError:
            return
        if begins:
            yield start
        if size <= 0:
            if element is _ebml_element and size == _UNKNOWN:
                yield from (found.start() + at for at, found in _searched(source, start + 4, n_bytes, _EBML))
            return
        start += size


_UNKNOWN = -1


def _box(head: bytes) -> tuple[bool, int]:
    """Of MP4: whether a file begins here, and the size of the box."""
    size = int.from_bytes(head[:4], "big")
    return head[4:8] == b"ftyp", int.from_bytes(head[8:16], "big") if size == 1 else size


def _riff(head: bytes) -> tuple[bool, int]:
    """Of AVI and WAV; an AVI of more than 1 GB goes on in further chunks."""
    size = int.from_bytes(head[4:8], "little")
    is_chunk = head[:4] == b"RIFF" and 0 < size < 0xFFFFFFFF
    return is_chunk and head[8:12] != b"AVIX", 8 + size + size % 2 if is_chunk else 0


def _asf_object(head: bytes) -> tuple[bool, int]:
    return head[:16] == _ASF, int.from_bytes(head[16:24], "little")


def _ebml_element(head: bytes) -> tuple[bool, int]:
    """Of Matroska and WebM."""
    id_bytes, size_bytes = 9 - head[0].bit_length(), 9 - head[min(8, 9 - head[0].bit_length())].bit_length()
    if id_bytes > 4 or size_bytes > 8:
        return False, 0
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") - (1 << 7 * size_bytes)
    is_unknown = size == (1 << 7 * size_bytes) - 1
    return _EBML.match(head) is not None, _UNKNOWN if is_unknown else id_bytes + size_bytes + size


def _searched(
    source: ByteSource, start: int, n_bytes: int, pattern: re.Pattern[bytes]
) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Places where a pattern occurs: the position that its match counts from, and the match."""
    if n_bytes > MAX_SEARCH_BYTES:
        return
    source.seek(start)
    kept = b""
    while block := source.read(_BLOCK_BYTES):
        block = kept + block
        is_last = start + len(block) >= n_bytes
        limit = len(block) if is_last else max(0, len(block) - _OVERLAP_BYTES)
        yield from ((start, found) for found in pattern.finditer(block) if found.start() < limit)
        kept, start = block[limit:], start + limit
