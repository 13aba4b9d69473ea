"""Recordings, a span at a time: 30 pictures a second and 16-kHz mono sound, whatever the source's rates.

A span's result is a pure function of (file, start, end): each span starts from a freshly opened container and decoder,
because both carry state over a seek (MPEG demuxers learn seek points as they read, AAC-SBR and Opus decoders never
forget all). Opening anew costs milliseconds, and no request, since `Source` keeps the header's bytes.

Who decides what: which tracks are used, `liser_ray.media.track_choice`; of which pieces a recording is, and what is
when, `liser_ray.media.timeline`; where to seek, what is decoded and what counts as damage, `liser_ray.media.stream`;
where samples lie, `liser_ray.media.audio`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

import av
from rich.filesize import decimal

from liser_ray.media.container import CUT_OFF, NO_TRACK, Choice, Lack, guesses_length, is_cut_off
from liser_ray.media.joined import MAX_SEARCH_BYTES, Part, files_in
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.source import Source
from liser_ray.media.stream import SpanStream, read_packets
from liser_ray.media.stretches import Stretch, find_stretches
from liser_ray.media.timeline import Piece, Timeline
from liser_ray.media.track_choice import ANY, Wanted, open_tracks

T = TypeVar("T")

MAX_PIXELS = 4096 * 4096
"""Pictures with more pixels are not decoded: 4K fits either way up."""

_NEAR_S = 0.001
_SAME_S = 0.25  # what is stated of a stream that goes on may be off by the last picture or two


@dataclass(frozen=True)
class Header:
    """What the container says before anything is decoded."""

    duration_s: float | None  # of all pieces, each from the start of its first track to the end of its last; if known
    width: int  # of the stored pictures, before any turn; 0 without video
    height: int
    frame_rate_hz: float  # mean rate; 0 if unknown or without video
    has_audio: bool  # that can be decoded
    has_video: bool  # likewise; cover art is no video
    size_bytes: int  # of the file
    # Where another piece starts: sound and pictures on both sides do not belong together.
    breaks_s: tuple[float, ...] = ()
    lacks: Mapping[str, Lack] = field(default_factory=lambda: NO_TRACK)  # why there is no "audio" or "video"


class Reader:
    """An open recording. A context manager; one span at a time: the next one ends the one before.

    Attributes:
        header: what is known of it.
        note: what of it can't be read, in words; "": nothing.
    """

    def __init__(self, uri: str, max_pixels: int = MAX_PIXELS, roots: tuple[str, ...] = (), wanted: Wanted = ANY):
        """Open a local or S3 recording, which must lie in the roots if there are any, and read its header.

        Raises:
            MediaError: MISSING, EMPTY, DENIED, READ_ERROR, TRUNCATED (an MP4 without its index), NOT_MEDIA, or
                NO_DECODER for any of its tracks; of joined files NO_DURATION, TIMES_JUMP if there are over 256.
        """
        self._max_pixels, self._wanted = max_pixels, wanted
        self._choices: dict[tuple[int, int], Choice] = {}  # by file
        self._source = Source(uri, roots)
        self._in_use: Timeline | None = None
        self._is_fresh = False  # whether nothing was read of it
        try:
            self._pieces: list[Piece] = []
            files = self._in_header(lambda: files_in(self._source))
            lost_bytes = sum(file[1] - file[0] for file in files if not self._add_pieces(file))
            self.note = f"{decimal(lost_bytes)} of it, joined to the rest, can't be opened" if lost_bytes else ""
            self.header = self._header()
        except BaseException:
            self.close()
            raise

    def span(self, start_s: float, end_s: float) -> SpanStream:
        """The part from ``start_s`` to ``end_s``, in seconds from time zero.

        Raises:
            MediaError: TIMES_JUMP if it reaches over the end of a piece; what opening can raise.
        """
        index = bisect_right(self._pieces, start_s + _NEAR_S, key=lambda piece: piece.start_s) - 1
        piece = self._pieces[max(0, index)]
        if index + 1 < len(self._pieces) and end_s > (break_s := self._pieces[index + 1].start_s) + _NEAR_S:
            raise MediaError(Reason.TIMES_JUMP, f"times jump at {break_s:.2f} s: give spans that end there")
        timeline = self._in_use
        if timeline is None or not self._is_fresh or len(self._pieces) > 1 or piece.stretch is not None:
            timeline = self._open(piece.file, piece.stretch)
        self._is_fresh = False
        return SpanStream(timeline, self._source, piece.start_s, start_s, end_s, self._max_pixels)

    def measure_duration_s(self) -> float | None:
        """The end of the last packet, in seconds from time zero. Decodes nothing.

        Reads from where the header says that the end is; else all of the file, or returns None if it is larger.

        Raises:
            MediaError: READ_ERROR; NO_DURATION if no packet has a time.
        """
        last = self._pieces[-1]
        length_s = self._measured_s(last.file)
        return None if length_s is None else last.start_s + length_s

    def close(self) -> None:
        """Close the container and the file."""
        self._close_container()
        self._source.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_header(self, read: Callable[[], T]) -> T:
        """What is read for the plan of a file: kept by the source, its errors the store's."""
        self._source.in_header = True
        try:
            return read()
        except MediaError:
            raise
        except Exception:
            self._source.check()
            raise
        finally:
            self._source.in_header = False

    def _add_pieces(self, file: tuple[int, int]) -> bool:
        """Add the pieces of a file; False, and none, of one that is joined to others and is no file."""
        try:
            timeline = self._open(file)
        except MediaError as error:
            if self._pieces and error.reason in (Reason.NOT_MEDIA, Reason.TRUNCATED):
                return False
            raise
        n_bytes = file[1] - file[0]
        is_guess = self._in_header(lambda: guesses_length(timeline.tracks.container, Part(self._source, *file)))
        stated_s = None if is_guess else timeline.stated_duration_s()
        found: list[Stretch] = []
        if timeline.may_jump(n_bytes) and n_bytes <= MAX_SEARCH_BYTES:
            leader = next(iter(timeline.tracks)).index
            found = find_stretches(timeline.stamps(self._packets(timeline)), leader)
        durations: list[tuple[float | None, Stretch | None]] = [(one.end_s - one.start_s, one) for one in found]
        if len(found) == 1 and stated_s is not None and abs(stated_s - (found[0].end_s - found[0].start_s)) < _SAME_S:
            durations = [(stated_s, found[0])]
        if not found or (len(found) == 1 and not timeline.is_stream):
            is_joined = n_bytes < self._source.size_bytes
            try:
                durations = [(self._measured_s(file) if is_joined and stated_s is None else stated_s, None)]
            except MediaError as error:
                if self._pieces and error.reason is Reason.NO_DURATION:
                    return False
                raise
        for duration_s, stretch in durations:
            last = self._pieces[-1] if self._pieces else None
            start_s = round(last.start_s + (last.duration_s or 0.0), 6) if last else 0.0
            self._pieces.append(Piece(start_s, duration_s, file, stretch))
        return True

    def _measured_s(self, file: tuple[int, int]) -> float | None:
        for near_end in (True, False):
            timeline = self._open(file)
            if near_end and not timeline.seek_end():
                continue
            if not near_end and file[1] - file[0] > MAX_SEARCH_BYTES:
                return None
            ends = [timeline.packet_end_s(packet) for packet in self._packets(timeline)]
            if known := [end_s for end_s in ends if end_s is not None]:
                return max(known)
        raise MediaError(Reason.NO_DURATION, "no packet has a time")

    def _packets(self, timeline: Timeline) -> Iterator[av.Packet]:
        self._is_fresh = False
        return read_packets(timeline.tracks, self._source)

    def _open(self, file: tuple[int, int], stretch: Stretch | None = None) -> Timeline:
        self._close_container()
        part = Part(self._source, *file)
        self._source.in_header = True
        try:
            tracks = open_tracks(part, self._wanted, choice=self._choices.get(file))
            timeline = Timeline(tracks, stretch)
        except MemoryError:
            raise
        except Exception as error:
            self._source.check()
            if is_cut_off(part):
                raise MediaError(Reason.TRUNCATED, CUT_OFF) from error
            raise MediaError(Reason.NOT_MEDIA, f"no container of video or sound: {error}") from error
        finally:
            self._source.in_header = False
        self._choices[file] = tracks.choice
        if not any(tracks):
            tracks.container.close()
            undecodable = [one.words for one in tracks.choice.lacks.values() if one.reason is Reason.NO_DECODER]
            if undecodable:
                raise MediaError(Reason.NO_DECODER, ", ".join(undecodable))
            raise MediaError(Reason.NOT_MEDIA, f"{tracks.container.format.name} without sound or video")
        self._in_use, self._is_fresh = timeline, True
        return timeline

    def _header(self) -> Header:
        in_use = self._in_use if len(self._pieces) == 1 else None
        timeline = in_use or self._open(self._pieces[0].file)
        tracks = timeline.tracks
        video = tracks.video
        rate = video.average_rate if video is not None else None  # FFmpeg's guess may be the time base: 1000 in WebM
        last = self._pieces[-1]
        return Header(
            duration_s=None if last.duration_s is None else last.start_s + last.duration_s,
            width=video.width if video is not None else 0,
            height=video.height if video is not None else 0,
            frame_rate_hz=float(rate) if rate else 0.0,
            has_audio=tracks.audio is not None,
            has_video=video is not None,
            size_bytes=self._source.size_bytes,
            breaks_s=tuple(piece.start_s for piece in self._pieces[1:]),
            lacks=tracks.choice.lacks,
        )

    def _close_container(self) -> None:
        if self._in_use is not None:
            self._in_use.tracks.container.close()
        self._in_use = None
