"""Stretches of a stream in which its clock goes on: what lies between two jumps.

Transport and program streams are joined, cut and recorded over pauses as they are: their clock then starts anew or
jumps in the middle of the file, at other bytes for the sound than for the pictures. And they have no index, so that to
seek by time is to guess. One pass over the packets, of which nothing is decoded, gives both.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from liser_ray.media.outcome import MediaError, Reason

MAX_BACK_S = 0.2
"""A track's clock that goes back further than this has jumped; less is overlap of sound or damage."""

_MAX_STEP_S = 3.0  # forward, beyond what all tracks have reached: so long may every track pause
_MAX_SKEW_S = 5.0  # how much earlier than the other a track may start that comes later in the file
_MAX_LENGTH_S = 1.0  # of the last packet, whatever it states
_MIN_LENGTH_S = 0.1  # less is a damaged time stamp, and no window
_MAX_STRETCHES = 256
_SEEK_POINT_EVERY_S = 1.0


@dataclass(frozen=True)
class Stamp:
    """What a packet tells without being decoded; times by the container's clock."""

    track: int  # index
    order_s: float | None  # when it is decoded: ascending in a track; None: not known
    start_s: float | None  # when it is presented
    end_s: float | None
    byte: int | None  # where it lies in the file; None: behind the one before
    is_key: bool  # whether decoding can begin with it


@dataclass
class Stretch:
    """A stretch of a stream with one clock.

    Attributes:
        times_of: start and end of each track, by that clock.
        bytes_of: first and last byte at which a packet of each track lies.
        seek_points: (time, byte) ascending: from there on the first track can be decoded, and whatever another has
            from that time on lies behind that byte.
    """

    times_of: dict[int, tuple[float, float]] = field(default_factory=dict)
    bytes_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    seek_points: list[tuple[float, int]] = field(default_factory=list)
    _latest: dict[int, float] = field(default_factory=dict)
    _earliest_s: float = float("inf")

    @property
    def start_s(self) -> float:
        """Of the first track."""
        return min((start for start, _ in self.times_of.values()), default=0.0)

    @property
    def end_s(self) -> float:
        """Of the last track."""
        return max((end for _, end in self.times_of.values()), default=0.0)

    @property
    def first_byte(self) -> int:
        """Of all tracks."""
        return min(first for first, _ in self.bytes_of.values())

    @property
    def last_byte(self) -> int:
        """At which a packet begins."""
        return max(last for _, last in self.bytes_of.values())

    def goes_on(self, stamp: Stamp) -> bool:
        """Whether a packet is the next one of its track."""
        latest_s = self._latest.get(stamp.track)
        if latest_s is None or stamp.order_s is None:
            return latest_s is not None
        return -MAX_BACK_S <= stamp.order_s - latest_s <= _MAX_STEP_S

    def takes(self, stamp: Stamp) -> bool:
        """Whether a packet is of a time that other tracks are at: of a track that is late, or has paused."""
        if stamp.order_s is None:
            return True
        least_s = self._latest.get(stamp.track, self._earliest_s - _MAX_SKEW_S)
        return least_s <= stamp.order_s <= max(self._latest.values()) + _MAX_STEP_S

    def add(self, stamp: Stamp, leader: int) -> None:
        """Note a packet; the stretch can be sought in by the key packets of the leader."""
        first, last = self.bytes_of.get(stamp.track, (stamp.byte, stamp.byte))
        byte = stamp.byte if stamp.byte is not None else last
        if byte is not None:
            self.bytes_of[stamp.track] = (first if first is not None else byte, max(byte, last or 0))
        if stamp.order_s is None or stamp.start_s is None or stamp.end_s is None:
            return
        if stamp.track == leader and stamp.is_key and byte is not None:
            others = [time_s for track, time_s in self._latest.items() if track != leader]
            time_s = max([stamp.start_s, *others])
            if not self.seek_points or time_s >= self.seek_points[-1][0] + _SEEK_POINT_EVERY_S:
                self.seek_points.append((time_s, byte))
        start_s, end_s = self.times_of.get(stamp.track, (stamp.start_s, stamp.end_s))
        # In MP4, what comes before a jump lasts until the next.
        stamp_end_s = min(stamp.end_s, stamp.start_s + _MAX_LENGTH_S)
        self.times_of[stamp.track] = min(start_s, stamp.start_s), max(end_s, stamp_end_s)
        self._earliest_s = min(self._earliest_s, stamp.order_s)
        self._latest[stamp.track] = stamp.order_s


def find_stretches(stamps: Iterable[Stamp], leader: int) -> list[Stretch]:
    """The stretches of a stream, in the order in which they begin; empty where no packet has a time.

    A packet belongs to the stretch that its track goes on in, else to one whose time it shares; so the sound that a
    jump left behind finds its pictures, and a single damaged time stamp ends nothing.

    Raises:
        MediaError: TIMES_JUMP: there are more than 256.
    """
    found: list[Stretch] = []
    recent: list[Stretch] = []  # the last two, the last one first
    for stamp in stamps:
        stretch = next((one for one in recent if one.goes_on(stamp)), None)
        stretch = stretch or next((one for one in recent if one.takes(stamp)), None)
        if stretch is None and stamp.order_s is None:
            continue
        if stretch is None:
            stretch = Stretch()
            found.append(stretch)
            if len(found) > _MAX_STRETCHES:
                raise MediaError(Reason.TIMES_JUMP, f"its clock jumps more than {_MAX_STRETCHES} times")
        if not recent or stretch is not recent[0]:
            recent = [stretch, *(one for one in recent if one is not stretch)][:2]
        stretch.add(stamp, leader)
    long_enough = [one for one in found if one.end_s - one.start_s >= _MIN_LENGTH_S and one.bytes_of]
    return long_enough or found[:1]
