"""Recordings, a span at a time: 30 pictures a second and 16-kHz mono sound, whatever the source's rates.

A span's result is a pure function of (file, start, end): each span starts from a freshly opened container and decoder,
because both carry state over a seek (MPEG demuxers learn seek points as they read, AAC-SBR and Opus decoders never
forget all). Opening anew costs milliseconds, and no request, since `Source` keeps the header's bytes.

Who decides what: which tracks are used, `liser_ray.media.container`; what is when, `liser_ray.media.timeline`; where to
seek, what is decoded and what counts as damage, `liser_ray.media.stream`; where samples lie, `liser_ray.media.audio`.
"""

import math
from dataclasses import dataclass
from typing import Self

import av

from liser_ray.media.container import choose_tracks, open_container
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.source import Source
from liser_ray.media.stream import SpanStream
from liser_ray.media.timeline import Timeline

MAX_PIXELS = 4096 * 4096
"""Pictures with more pixels are not decoded: 4K fits either way up."""


@dataclass(frozen=True)
class Header:
    """What the container says before anything is decoded."""

    duration_s: float | None  # from time zero (the first stream's start) to the last stream's end, if it says that
    width: int  # of the stored pictures, before any turn; 0 without video
    height: int
    frame_rate_hz: float  # mean rate; 0 if unknown or without video
    has_audio: bool
    has_video: bool  # cover art is no video
    size_bytes: int  # of the file


class Reader:
    """An open recording. A context manager; one span at a time: the next one ends the one before."""

    def __init__(self, uri: str, max_pixels: int = MAX_PIXELS, roots: tuple[str, ...] = ()):
        """Open a local or S3 recording, which must lie in the roots if there are any, and read its header.

        Raises:
            MediaError: MISSING, EMPTY, DENIED, READ_ERROR, TRUNCATED (an MP4 without its index) or NOT_MEDIA.
        """
        self._max_pixels = max_pixels
        self._source = Source(uri, roots)
        self._fresh: Timeline | None = None
        self._in_use: Timeline | None = None
        try:
            self._fresh = self._open()
            self.header = _header(self._fresh, self._source.size_bytes)
        except BaseException:
            self.close()
            raise

    def span(self, start_s: float, end_s: float) -> SpanStream:
        """The part from ``start_s`` to ``end_s``, in seconds from time zero.

        Raises:
            MediaError: TOO_LARGE if the pictures have more than ``max_pixels``; what opening can raise.
        """
        if self.header.width * self.header.height > self._max_pixels:
            raise MediaError(Reason.TOO_LARGE, f"pictures of {self.header.width} x {self.header.height}")
        _close(self._in_use)
        self._in_use, self._fresh = self._fresh or self._open(), None
        return SpanStream(self._in_use, self._source, start_s, end_s, self._max_pixels)

    def measure_duration_s(self) -> float:
        """The end of the last packet, in seconds from time zero. Reads the whole file, decodes nothing.

        Raises:
            MediaError: READ_ERROR; NO_DURATION if no packet has a time.
        """
        timeline = self._open()
        end_s = -math.inf
        try:
            for packet in timeline.tracks.container.demux(*timeline.tracks):
                if packet.pts is not None:
                    last_s = timeline.time_s(packet.pts + (packet.duration or 0), packet.stream)
                    end_s = end_s if last_s is None else max(end_s, last_s)
        except av.FFmpegError:
            pass  # as far as the data goes
        finally:
            _close(timeline)
        self._source.check()
        if not math.isfinite(end_s):
            raise MediaError(Reason.NO_DURATION, "no packet has a time")
        return end_s

    def close(self) -> None:
        """Close the container and the file."""
        _close(self._in_use)
        _close(self._fresh)
        self._in_use = self._fresh = None
        self._source.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Timeline:
        self._source.seek(0)
        self._source.in_header = True
        try:
            container = open_container(self._source)
        except MemoryError:
            raise
        except Exception as error:
            self._source.check()
            self._source.seek(0)
            if self._source.read(12)[4:8] == b"ftyp":
                words = "an MP4 whose index (moov) is missing or broken: cut off?"
                raise MediaError(Reason.TRUNCATED, words) from error
            raise MediaError(Reason.NOT_MEDIA, f"no container of video or sound: {error}") from error
        finally:
            self._source.in_header = False
        tracks = choose_tracks(container)
        if not any(tracks):
            container.close()
            raise MediaError(Reason.NOT_MEDIA, f"{container.format.name} without sound or video")
        return Timeline(tracks)


def _header(timeline: Timeline, size_bytes: int) -> Header:
    video = timeline.tracks.video
    rate = video.average_rate if video is not None else None  # FFmpeg's guess may be the time base: 1000 in WebM
    return Header(
        duration_s=timeline.stated_duration_s(),
        width=video.width if video is not None else 0,
        height=video.height if video is not None else 0,
        frame_rate_hz=float(rate) if rate else 0.0,
        has_audio=timeline.tracks.audio is not None,
        has_video=video is not None,
        size_bytes=size_bytes,
    )


def _close(timeline: Timeline | None) -> None:
    if timeline is not None:
        timeline.tracks.container.close()
