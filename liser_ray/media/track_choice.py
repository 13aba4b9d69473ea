"""Which of a recording's tracks are used: the one way to open a recording, for all who decode one.

Only what can be decoded counts, and no cover art. Of several, one that gives pictures, or sound that is not silent,
comes before one that does not; then one with the default flag; then sound in the recording's language; then the first.
"""

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from liser_ray.media.audio import SILENCE_PEAK, channels_of
from liser_ray.media.container import NO_TRACK, ByteSource, Choice, Lack, Track, Tracks, open_container
from liser_ray.media.outcome import Reason

_Kind = Literal["video", "audio"]
_WHAT = {"video": "pictures", "audio": "sound"}
_COVER_ART = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

_TRIED_AT = (0.0, 0.25, 0.5, 0.75)  # shares of the recording: a track may begin with silence
_TRIED_S = 5.0  # at each of these
_TRIED_PACKETS = 2000  # at most, at each
_GOOD, _SILENT = 2, 1

_CODEC = re.compile(r"Stream #0:(\d+)\D[^\n]*?: (?:Audio|Video): (?:none \((\w[^ )]*)|([^,\n]+))")

_LANGUAGES = tuple(
    frozenset(codes.split())
    for codes in (
        "bn ben", "bo tib", "cs ces cze", "cy cym wel", "de deu ger", "el ell gre", "es spa", "eu eus baq",
        "fa fas per", "ga gle", "hy hye arm", "id ind", "is isl ice", "ja jpn", "ka kat geo", "kk kaz", "lt lit",
        "lv lav", "mi mri mao", "mk mkd mac", "mn mon", "ms msa may", "mt mlt", "my mya bur", "nl nld dut", "pl pol",
        "pt por", "ro ron rum", "sk slk slo", "sq sqi alb", "sv swe", "tr tur", "zh zho chi cmn",
    )
)  # fmt: skip
"""Codes of one language (ISO 639-1 and -2) that do not begin alike, as "en" and "eng" do."""


@dataclass(frozen=True)
class Wanted:
    """Which tracks are asked for.

    Attributes:
        video, audio: number among the recording's tracks of that kind, from 0, as FFmpeg's v:0 and a:0; None: any.
        language: of the sound, as an ISO 639 code such as "de", "deu" or "de-AT"; "": not known.
    """

    video: int | None = None
    audio: int | None = None
    language: str = ""


ANY = Wanted()


def open_tracks(
    source: ByteSource, wanted: Wanted = ANY, pictures: bool = True, choice: Choice | None = None
) -> Tracks:
    """The container in these bytes and the tracks of it that are used; the others are not read.

    Where there is a choice, tracks are decoded a little first. Decoders get one thread each: a machine has as many
    processes that decode as cores.

    Args:
        source: at any position.
        wanted: the tracks that are asked for.
        pictures: whether there is a use for them.
        choice: one that was made of these bytes before.

    Raises:
        Exception: whatever PyAV makes of these bytes, and what ``source.read`` raises.
    """
    container = _opened(source)
    try:
        if choice is None:
            choosing = _Choosing(container, source)
            choice = choosing.choose(wanted, pictures)
            if choosing.tried:  # others that were opened on these bytes have moved on in them
                container.close()
                container = _opened(source)
        video, audio = (None if index is None else container.streams[index] for index in (choice.video, choice.audio))
        assert video is None or isinstance(video, VideoStream)
        assert audio is None or isinstance(audio, AudioStream)
        tracks = Tracks(container, video, audio, choice)
        _use_only(container, *tracks)
    except BaseException:
        container.close()
        raise
    return tracks


def _opened(source: ByteSource) -> InputContainer:
    source.seek(0)
    return open_container(source)


def _use_only(container: InputContainer, *tracks: Track) -> None:
    for stream in container.streams:
        if stream.index not in {track.index for track in tracks}:
            stream.discard = Discard.all
    for track in tracks:
        track.codec_context.thread_count = 1


class _Choosing:
    """One choice among the tracks of a container."""

    def __init__(self, container: InputContainer, source: ByteSource):
        self.tried = False  # whether the bytes were read for it
        self._container, self._source = container, source
        self._lacks: dict[str, Lack] = {}
        self._notes: list[str] = []

    def choose(self, wanted: Wanted, pictures: bool) -> Choice:
        """See `open_tracks`."""
        video = self._best("video", self._container.streams.video, wanted.video) if pictures else None
        sounds = self._container.streams.audio if wanted.audio is not None else self._of_program(video)
        audio = self._best("audio", sounds, wanted.audio, wanted.language)
        index = {one: None if track is None else track.index for one, track in (("video", video), ("audio", audio))}
        return Choice(index["video"], index["audio"], self._lacks, "; ".join(self._notes))

    def _best(self, kind: _Kind, tracks: Sequence[Track], number: int | None, language: str = "") -> Track | None:
        """The one track of a kind that is used, if there is any."""
        names = {one.index: f"{kind[0]}:{k}" for k, one in enumerate(getattr(self._container.streams, kind))}
        if number is not None:
            tracks = [one for one in tracks if names[one.index] == f"{kind[0]}:{number}"]
        tracks = [one for one in tracks if not one.disposition & _COVER_ART]
        decodable = [one for one in tracks if one.codec_context is not None]
        codecs = _codecs(self._container) if len(decodable) < len(tracks) else {}
        words = {one.index: f"no decoder for {codecs.get(one.index, 'it')}" for one in tracks if one not in decodable}
        if not decodable:
            lack = Lack(Reason.NO_DECODER, ", ".join(words.values())) if words else NO_TRACK[kind]
            asked = "" if number is None else f" {kind[0]}:{number}"
            self._lacks[kind] = lack._replace(words=lack.words + asked)
            return None
        decodable.sort(key=lambda one: _preference(one, language))
        best = decodable[0]
        if len(decodable) > 1:
            self.tried = True
            ranks = {}
            for one in decodable:
                ranks[one.index] = _tried(self._source, one.index, kind)
                if ranks[one.index] == _GOOD:
                    break
            best = max(decodable, key=lambda one: ranks.get(one.index, -1))  # of equals the first
            passed = {index: "silent" if rank else "can't be decoded" for index, rank in ranks.items() if rank < _GOOD}
            words |= {index: said for index, said in passed.items() if index != best.index}
        if len(names) > 1:
            others = ", ".join(f"{names[index]}: {said}" for index, said in sorted(words.items()))
            self._notes.append(f"{_WHAT[kind]} of track {names[best.index]}" + (f" ({others})" if others else ""))
        return best

    def _of_program(self, video: Track | None) -> Sequence[AudioStream]:
        """The tracks of sound that belong to the pictures: a broadcast may hold several programs."""
        streams = self._container.streams
        shown = video or streams.best("video")
        if shown is None or len(streams.audio) < 2:
            return streams.audio
        # FFmpeg tells the best track in another one's program.
        own = streams.best("video", related=shown)
        related = [(one, streams.best("video", related=one)) for one in streams.audio]
        return [one for one, other in related if own is None or other is None or other.index == own.index]


def _preference(track: Track, language: str) -> tuple[bool, bool, int]:
    """Less is better."""
    return (
        not track.disposition & Disposition.default,
        not _is_same_language(language, track.language or ""),
        track.index,
    )


def _is_same_language(a: str, b: str) -> bool:
    a, b = (re.split("[-_]", one.strip().lower())[0] for one in (a, b))
    if min(len(a), len(b)) < 2:
        return False
    return a.startswith(b) or b.startswith(a) or any({a, b} <= codes for codes in _LANGUAGES)


def _tried(source: ByteSource, index: int, kind: _Kind) -> int:
    """How good a track is: `_GOOD`, `_SILENT`, or 0 if nothing can be decoded."""
    rank = 0
    with contextlib.suppress(Exception), _opened(source) as container:  # what is wrong with the file is found later
        track = container.streams[index]
        assert isinstance(track, VideoStream | AudioStream)
        _use_only(container, track)
        length_s = (container.duration or 0) / av.time_base
        is_short = length_s <= len(_TRIED_AT) * _TRIED_S
        for place in (0.0,) if is_short else _TRIED_AT:
            if place:
                container.seek(int((container.start_time or 0) + place * length_s * av.time_base))
            rank = max(rank, _tried_here(container, track, math.inf if is_short else _TRIED_S))
            if rank == _GOOD or kind == "video":
                break
    return rank


def _tried_here(container: InputContainer, track: Track, length_s: float) -> int:
    rank, decoded_s = 0, 0.0
    for packet in islice(container.demux(track), _TRIED_PACKETS):
        with contextlib.suppress(av.FFmpegError):
            for frame in track.codec_context.decode(packet):
                if not isinstance(frame, av.AudioFrame):
                    return _GOOD
                if np.abs(channels_of(frame)).max(initial=0) > SILENCE_PEAK:
                    return _GOOD
                rank, decoded_s = _SILENT, decoded_s + frame.samples / max(1, frame.sample_rate)
        if decoded_s >= length_s:
            break
    return rank


def _codecs(container: InputContainer) -> dict[int, str]:
    """Names of the streams' codecs by index; PyAV names only those that it can decode, FFmpeg's description all."""
    av.logging.set_level(av.logging.INFO)
    try:
        described: str = container.dumps_format()  # type: ignore[attr-defined] # PyAV's stubs lack it
        return {int(index): (code or name).strip() for index, code, name in _CODEC.findall(described)}
    finally:
        av.logging.set_level(av.logging.PANIC)
