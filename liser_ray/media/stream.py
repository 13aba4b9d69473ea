"""One pass over a span of an open recording: seek, demux, decode; pictures come out, sound is collected on the way.

Decided here: where to seek so that both tracks can be decoded from before the span's start, how far the file is read
beyond its end, which pictures are damaged, and what it means if a track has nothing in the span.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NoReturn

import av
import numpy as np
from av.stream import Stream
from av.video.stream import VideoStream

from liser_ray.media.audio import SAMPLE_RATE_HZ, SpanSound
from liser_ray.media.container import Track, Tracks
from liser_ray.media.frame import SampledFrame, Scalers, orientation
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.source import Source
from liser_ray.media.stretches import MAX_BACK_S
from liser_ray.media.timeline import FRAME_RATE_HZ, MAX_HOLD_S, Timeline, first_cell, shown_cells

_AUDIO_PREROLL_S = 0.5  # decoded before the span: what decoders need until their output no longer depends on the start
_AUDIO_TAIL_S = 0.1  # decoded after the span: what the resampler needs to fill the last samples
_SEEK_BACK_S = (0.0, 2.0, 20.0, 200.0, math.inf)  # how much earlier to try where a seek lands behind the span's start
_BEFORE_ALL_S = 1.0  # to go to the very start; at the first time stamp, FFmpeg may pass over the first key frame
_INTERLEAVE_S = 5.0  # how far apart in the file sound and pictures of the same time may be
_MAX_DEMUX_ERRORS = 100


class SpanStream:
    """A span of a recording: iterate once for the frames in order, then ask for the sound.

    Attributes:
        start_s, end_s: in seconds from the recording's time zero.
        n_cells: cells of the span's 30-Hz grid.
        n_decode_errors: packets and pictures that were broken, so far.
    """

    def __init__(
        self, timeline: Timeline, source: Source, piece_s: float, start_s: float, end_s: float, max_pixels: int
    ):
        """Of a container that was just opened, from times in the recording; its piece begins at ``piece_s``."""
        self.start_s, self.end_s = start_s, end_s
        self._in_piece_s = start_s - piece_s
        self.n_cells = round((end_s - start_s) * FRAME_RATE_HZ)
        self.n_decode_errors = 0
        self._timeline, self._tracks = timeline, timeline.tracks
        self._source = source
        self._max_pixels = max_pixels
        self._duration_s = end_s - start_s
        self._sound = SpanSound(round(self._duration_s * SAMPLE_RATE_HZ))
        self._sound_done = self._tracks.audio is None
        self._pictures_done = self._tracks.video is None
        self._pictures_s: tuple[float, float] | None = None  # from the first one's start to the last one's end
        self._pictures_end_s = -math.inf  # of all that were decoded
        self._ended = False  # whether the piece's end was reached
        self._packets_until_s = -math.inf  # where in the span
        self._given: set[int] = set()  # tracks of which a decoder got something, by index
        self._decoded: set[int] = set()  # those of which it gave something
        self._reaching: set[int] = set()  # those that have a packet in the span
        self._scalers = Scalers()
        self._packets = self._demux()

    def __iter__(self) -> Iterator[SampledFrame]:
        """Frames in order; none without a video track.

        Raises:
            MediaError: TOO_LARGE, READ_ERROR, TIMES_JUMP; at the end, if there was no picture: see `pcm`.
        """
        if self._tracks.video is None:
            return
        if self._tracks.video.width * self._tracks.video.height > self._max_pixels:
            raise MediaError(Reason.TOO_LARGE, f"pictures of {self._tracks.video.width} x {self._tracks.video.height}")
        aspect = _pixel_aspect(self._tracks.video)
        for first, n_cells, picture in shown_cells(self._pictures(), self.n_cells):
            start_s = self._pictures_s[0] if self._pictures_s else first / FRAME_RATE_HZ
            self._pictures_s = start_s, min((first + n_cells) / FRAME_RATE_HZ, self._pictures_end_s)
            yield SampledFrame(first, n_cells, picture, *orientation(picture), aspect, self._scalers)
        self._finish_sound()
        if self._pictures_s is None:
            self._raise_nothing(Reason.NO_VIDEO, "picture")

    def pcm(self) -> np.ndarray:
        """The sound, int16 [round((end_s - start_s) * 16000)]: 16 kHz, mono, gaps as zeros.

        Call it after the iteration; before or instead of it, the pictures are skipped and can't be had any more.

        Raises:
            MediaError: NO_AUDIO or NO_DECODER without a sound track, READ_ERROR, TIMES_JUMP; if there was no sound:
                CORRUPT if there were decode errors, NO_DECODER if nothing came of the track's packets, NO_AUDIO
                (NO_VIDEO) if there were pictures (sound), else TRUNCATED if the file ends before, TIMES_JUMP if it goes
                on behind the span.
        """
        if self._tracks.audio is None:
            raise MediaError(*self._tracks.choice.lacks["audio"])
        self._finish_sound()
        try:
            pcm = self._sound.finish()
        except av.FFmpegError as error:
            raise MediaError(Reason.CORRUPT, f"sound that can't be resampled: {error}") from error
        if self._sound.covered_s is None:
            self._raise_nothing(Reason.NO_AUDIO, "sound")
        return pcm

    @property
    def note(self) -> str:
        """What was done with the recording so far that is not usual; else ""."""
        return "; ".join(filter(None, (self._tracks.choice.note, self._scalers.note, self._sound.note)))

    def covered_s(self, pictures: bool = True) -> tuple[float, float]:
        """The part that the sound and, if wanted, the pictures cover, in seconds from the span's start.

        Ask after `pcm`; pictures that were not iterated over do not count.
        """
        covered = [one for one in (self._pictures_s if pictures else None, self._sound.covered_s) if one is not None]
        return max(start for start, _ in covered), min(end for _, end in covered)

    def reach(self) -> str:
        """Which part of the span which track covers, in words; ask after `pcm`."""
        covered, at_s = (("pictures", self._pictures_s), ("sound", self._sound.covered_s)), self.start_s
        return ", ".join(f"{name} from {at_s + one[0]:.2f} to {at_s + one[1]:.2f} s" for name, one in covered if one)

    def _raise_nothing(self, absent: Reason, what: str) -> NoReturn:
        """Say why a track has nothing here: damage, the end of the file, or that only the other track reaches here."""
        where = f"no {what} between {self.start_s:.2f} and {self.end_s:.2f} s"
        other_s = self._pictures_s if absent == Reason.NO_AUDIO else self._sound.covered_s
        # The packet that a cut goes through is a decode error, too: what counts is whether more came after it.
        cut_off = self._ended and self._packets_until_s < self._duration_s / 2
        if self.n_decode_errors and not cut_off:
            raise MediaError(Reason.CORRUPT, f"{where}, {self.n_decode_errors} decode errors")
        if not cut_off and self._is_undecodable(absent):
            raise MediaError(
                Reason.NO_DECODER, f"no decoder for this {self._track(absent).codec_context.name}: {where}"
            )
        # Where sound alone is wanted, pictures are not decoded, but their packets are there.
        if other_s is not None or (not cut_off and self._reaching - {self._track(absent).index}):
            raise MediaError(absent, f"{where}: {self._reach(absent)}")
        if self._ended:
            raise MediaError(Reason.TRUNCATED, f"{where}, {self.n_decode_errors} decode errors")
        raise MediaError(Reason.TIMES_JUMP, f"{where}, nor anything else, but later: times jump")

    def _track(self, absent: Reason) -> Track:
        track = self._tracks.audio if absent == Reason.NO_AUDIO else self._tracks.video
        assert track is not None
        return track

    def _is_undecodable(self, absent: Reason) -> bool:
        """Whether a decoder made nothing of the track's packets, or there are none where the header says so."""
        track = self._track(absent)
        if track.index in self._decoded:
            return False
        _, end_s = self._timeline.reach_s(track)
        is_stated = absent == Reason.NO_VIDEO and end_s is not None and end_s > self._in_piece_s + MAX_HOLD_S
        return track.index in self._given or is_stated

    def _reach(self, absent: Reason) -> str:
        """Where the track that has nothing here ends or begins, if that is known."""
        start_s, end_s = self._timeline.reach_s(self._track(absent))
        name = "the sound" if absent == Reason.NO_AUDIO else "the picture"
        offset_s = self.start_s - self._in_piece_s
        if end_s is not None and end_s <= self._in_piece_s + MAX_HOLD_S:
            return f"{name} ends at {offset_s + end_s:.2f} s"
        if start_s is not None and start_s >= self._in_piece_s + self._duration_s - MAX_HOLD_S:
            return f"{name} begins at {offset_s + start_s:.2f} s"
        return f"{name} pauses or has ended"

    def _pictures(self) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """Good pictures in order: (time from the span's start, duration, picture); sound is collected on the way."""
        video = self._tracks.video
        assert video is not None
        default_s = _picture_duration_s(video)
        next_s = -math.inf  # for pictures without a time: right after the one before
        damaged = False
        for packet in chain(self._packets, (None,)):
            if packet is not None and packet.stream.index != video.index:
                self._decode_sound(packet)
                continue
            if packet is not None:
                self._given.add(video.index)
            try:
                pictures = video.codec_context.decode(packet)
            except MemoryError:
                raise
            except Exception:
                self.n_decode_errors += 1
                damaged = True
                continue
            for picture in pictures:
                self._decoded.add(video.index)
                time_s = self._time_s(picture.pts if picture.pts is not None else picture.dts, video)
                time_s = next_s if time_s is None else time_s
                if not math.isfinite(time_s):
                    time_s = -self._in_piece_s  # a stream without any times starts at time zero
                stated_s = self._timeline.length_s(picture.duration, video) or 0.0
                duration_s = max(stated_s, default_s)
                next_s = time_s + (stated_s or default_s)
                self._pictures_end_s = max(self._pictures_end_s, time_s + duration_s)
                # After an error, pictures are guessed from what is missing, until one that refers to no other.
                self.n_decode_errors += picture.is_corrupt
                damaged = picture.is_corrupt or (damaged and not picture.key_frame)
                if damaged:
                    continue
                if picture.width * picture.height > self._max_pixels:
                    raise MediaError(Reason.TOO_LARGE, f"a picture of {picture.width} x {picture.height}")
                self._pictures_done = first_cell(time_s) >= self.n_cells
                yield time_s, duration_s, picture
        self._pictures_done = True

    def _finish_sound(self) -> None:
        """Collect the rest of the sound, without pictures."""
        self._pictures_done = True
        audio = self._tracks.audio
        if audio is None or self._sound_done:
            return
        for packet in self._packets:
            if packet.stream.index == audio.index:
                self._decode_sound(packet)
        self._decode_sound(None)
        self._sound_done = True

    def _decode_sound(self, packet: av.Packet | None) -> None:
        """Decode a packet of sound; None: what the decoder still holds."""
        audio = self._tracks.audio
        assert audio is not None
        if self._sound_done:
            return
        time_s = None if packet is None else self._packet_time_s(packet)
        if time_s is not None and time_s < -_AUDIO_PREROLL_S:
            return
        if packet is not None:
            self._given.add(audio.index)
        try:
            for frame in audio.codec_context.decode(packet):
                self._decoded.add(audio.index)
                frame_s = self._time_s(frame.pts, audio)
                self._sound.add(frame, frame_s)
                self._sound_done |= frame_s is not None and frame_s > self._duration_s + _AUDIO_TAIL_S
        except MemoryError:
            raise
        except Exception:
            self.n_decode_errors += 1

    def _demux(self) -> Iterator[av.Packet]:
        """The packets from a little before the span until both tracks are done or are `_INTERLEAVE_S` beyond it."""
        latest: dict[int, float] = {}
        for packet in chain(self._seek(), self._read()):
            time_s, track = self._packet_time_s(packet), packet.stream.index
            if (self._sound_done and self._pictures_done) or (
                time_s is not None and time_s > self._duration_s + _INTERLEAVE_S
            ):
                return
            if time_s is not None:
                self._packets_until_s = max(self._packets_until_s, time_s)
                if 0 <= time_s < self._duration_s:
                    self._reaching.add(track)
            order_s = self._timeline.order_s(packet)
            if order_s is not None:
                if self._timeline.stretch is None and order_s < latest.get(track, -math.inf) - MAX_BACK_S:
                    where = f"between {self.start_s:.2f} and {self.end_s:.2f} s"
                    raise MediaError(Reason.TIMES_JUMP, f"times jump back by {latest[track] - order_s:.2f} s {where}")
                latest[track] = order_s
            yield packet
        self._ended = True

    def _seek(self) -> list[av.Packet]:
        """Go to where every track can be decoded from before the span's start; the packets read to make sure of it.

        A container that was just opened stands at its start, which needs no seek (and some can't).
        """
        wanted_s = self._in_piece_s - _AUDIO_PREROLL_S
        if self._timeline.stretch is not None and self._timeline.is_stream:
            byte = self._timeline.seek_byte(wanted_s)
            if byte is not None:
                self._tracks.container.seek(byte, unsupported_byte_offset=True)
            return []
        packets: list[av.Packet] = []
        leader = next(iter(self._tracks))
        for back_s in _SEEK_BACK_S:
            if wanted_s <= 0 and not self._timeline.begins_inside:
                break
            target_s = max(-_BEFORE_ALL_S, wanted_s - back_s)
            try:
                self._tracks.container.seek(self._timeline.ticks(target_s, leader), stream=leader)
            except (av.FFmpegError, OverflowError):
                self._source.check()
                continue
            packets = []
            missing = {track.index for track in self._tracks}
            for packet in self._read():
                time_s = self._packet_time_s(packet)
                if packet.stream.index == leader.index or time_s is None or time_s >= -_AUDIO_PREROLL_S:
                    packets.append(packet)  # older sound is not decoded, and may be hours
                if time_s is not None and time_s > 0:
                    break
                if packet.is_keyframe and time_s is not None:
                    missing.discard(packet.stream.index)
                if not missing:
                    return packets
            # Sound that is still missing a little further back is not there: no reason to decode pictures in vain.
            if back_s > 0 and leader.index not in missing:
                break
        return packets

    def _read(self) -> Iterator[av.Packet]:
        """Packets of the piece from where the container stands; bad places are skipped, a failed read is raised."""

        def count_error() -> None:
            self.n_decode_errors += 1

        for packet in read_packets(self._tracks, self._source, count_error):
            if self._timeline.is_past(packet):
                return
            if self._timeline.holds(packet):
                yield packet

    def _packet_time_s(self, packet: av.Packet) -> float | None:
        return self._time_s(packet.pts if packet.pts is not None else packet.dts, packet.stream)

    def _time_s(self, ticks: int | None, track: Stream) -> float | None:
        """Seconds from the span's start."""
        time_s = self._timeline.time_s(ticks, track)
        return None if time_s is None else time_s - self._in_piece_s


def read_packets(tracks: Tracks, source: Source, on_error: Callable[[], None] = lambda: None) -> Iterator[av.Packet]:
    """Packets from where a container stands to its end; ``on_error`` is called for each bad place that is skipped.

    Raises:
        MediaError: a read failed.
    """
    for _ in range(_MAX_DEMUX_ERRORS):
        try:
            for packet in tracks.container.demux(*tracks):
                if packet.size > 0:  # an empty one would end the decoder's stream; that is done once, at the end
                    yield packet
            break
        except MemoryError:
            raise
        except Exception:
            source.check()
            on_error()
    source.check()


def _picture_duration_s(video: VideoStream) -> float:
    rate = video.average_rate
    return min(1.0, 1 / float(rate)) if rate else 1 / FRAME_RATE_HZ


def _pixel_aspect(video: VideoStream) -> float:
    """Width of a pixel over its height; 1 where it is unknown or absurd."""
    aspect = float(video.sample_aspect_ratio or 1)
    return aspect if 0.2 <= aspect <= 5 else 1.0
