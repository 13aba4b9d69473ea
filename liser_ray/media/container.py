"""How FFmpeg is let at a recording: with the bytes that we hand it, nothing else; and what is used of it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from liser_ray.media.outcome import Reason

Track = VideoStream | AudioStream

_IO_BUFFER_BYTES = 64 << 10  # FFmpeg's own; `liser_ray.media.source.Source` reads in larger blocks

CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,m4v,ivf,mxf,dv,rm,nut,"
    "wav,w64,aiff,caf,au,nistsphere,flac,mp3,aac,ac3,eac3,amr,ape,tta,wv"
)
"""What may be opened. Playlists and scripts (HLS, DASH, concat, SDP) are left out: they name other files and hosts."""

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on
"""Files that a folder listing takes for recordings. What is named, alone or in a manifest, may have any suffix."""

_MP3_COUNTS = re.compile(rb"(?:Xing|Info)\0\0\0[\x03\x07\x0b\x0f].{4}(.{4})", re.DOTALL)  # of frames and of bytes
_MP3_HEAD_BYTES = 256

_OPTIONS = {
    "format_whitelist": CONTAINERS,
    # A container that names other files all the same (a QuickTime data reference) finds no protocol to open one with.
    "protocol_whitelist": "none",
}

av.logging.set_level(av.logging.PANIC)  # errors are counted and reported; FFmpeg's own words flood the log


CUT_OFF = "an MP4 whose index (moov) is missing or broken: cut off?"
"""What is said of a file for which `is_cut_off`."""


class ByteSource(Protocol):
    """The part of a file object that PyAV needs.

    It has no ``name``: PyAV would pass that to FFmpeg, which takes what is called ``*.m3u8`` for a playlist and looks
    for the files that a container names beside it.
    """

    def read(self, n_bytes: int, /) -> bytes:
        """Up to so many bytes; b"" at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte; returns where that is."""

    def tell(self) -> int:
        """Where the next read starts."""


def open_container(source: ByteSource) -> InputContainer:
    """The container in these bytes, its header read. No other file or host is opened, whatever the bytes say.

    Raises:
        av.FFmpegError: it is none of `CONTAINERS`, or broken; and what ``source.read`` raises.
    """
    return av.open(source, "r", buffer_size=_IO_BUFFER_BYTES, options=_OPTIONS, metadata_errors="replace")


def guesses_length(container: InputContainer, source: ByteSource) -> bool:
    """Whether FFmpeg takes the bit rate of the first frames for that of all, to say how long a recording is.

    So it does with raw AAC, and with MP3 whose first frame does not count them, or counts other bytes than there are,
    as where files were joined or cut off.
    """
    if container.format.name != "mp3":
        return container.format.name == "aac"
    at, n_bytes = source.tell(), source.seek(0, os.SEEK_END)
    source.seek(0)
    tag, first = source.read(10), 0
    if tag[:3] == b"ID3":
        first = 10 + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(tag[6:])))
    source.seek(first)
    found = _MP3_COUNTS.search(source.read(_MP3_HEAD_BYTES))
    source.seek(at)
    return found is None or abs(int.from_bytes(found[1], "big") - (n_bytes - first)) > n_bytes / 50


def is_cut_off(source: ByteSource) -> bool:
    """Whether bytes that can't be opened begin as an MP4 does: it is its index that lacks then."""
    source.seek(0)
    return source.read(12)[4:8] == b"ftyp"


class Lack(NamedTuple):
    """Why there is no track of a kind."""

    reason: Reason
    words: str


NO_TRACK: Mapping[str, Lack] = {
    "video": Lack(Reason.NO_VIDEO, "no video track"),
    "audio": Lack(Reason.NO_AUDIO, "no sound track"),
}


@dataclass(frozen=True)
class Choice:
    """Which tracks of a recording are used.

    Attributes:
        video, audio: index among all its streams; None: there is none to use.
        lacks: by "video" and "audio", why there is none.
        note: what was chosen, and why, where there was a choice; else "".
    """

    video: int | None
    audio: int | None
    lacks: Mapping[str, Lack] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Tracks:
    """What of a container is used, the pictures first: iterate for the tracks that there are."""

    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    choice: Choice

    def __iter__(self) -> Iterator[Track]:
        return (track for track in (self.video, self.audio) if track is not None)
