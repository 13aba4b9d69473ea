"""The conditions under which a classifier is tried, by name."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from liser_ray.evaluation.config import RECORDED
from liser_ray.media import conditions
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError

_TALKERS = 4
_SHORTEST = round(0.1 * SAMPLE_RATE_HZ)


class Heard(NamedTuple):
    """A recording to be changed.

    Attributes:
        waveform: float32 [n], 16 kHz, -1..1.
        others: recordings of other speakers, of the same kind.
        rng: of all that is random.
    """

    waveform: np.ndarray
    others: Sequence[np.ndarray]
    rng: np.random.Generator


@dataclass(frozen=True)
class Condition:
    """A condition.

    Attributes:
        words: for tables and plots.
        change: the recording as it is then, float32 [n].
    """

    words: str
    change: Callable[[Heard], np.ndarray]


def _noise(snr_db: float) -> Condition:
    return Condition(f"white noise, {snr_db:g} dB", lambda one: conditions.white_noise(one.waveform, snr_db, one.rng))


def _babble(snr_db: float) -> Condition:
    return Condition(
        f"babble, {snr_db:g} dB",
        lambda one: conditions.babble(one.waveform, one.others, snr_db, one.rng),
    )


CONDITIONS: Mapping[str, Condition] = {
    RECORDED: Condition("as recorded", lambda one: one.waveform),
    "trimmed": Condition("without silence", lambda one: conditions.trimmed(one.waveform)),
    "middle2s": Condition("the middle 2 s", lambda one: conditions.middle(one.waveform, 2)),
    "middle1s": Condition("the middle second", lambda one: conditions.middle(one.waveform, 1)),
    "louder20": Condition("20 dB louder", lambda one: conditions.gain(one.waveform, 20)),
    "softer20": Condition("20 dB softer", lambda one: conditions.gain(one.waveform, -20)),
    "noise20": _noise(20),
    "noise10": _noise(10),
    "noise0": _noise(0),
    "babble20": _babble(20),
    "babble10": _babble(10),
    "room": Condition("a room, 0.6 s", lambda one: conditions.reverberation(one.waveform, 0.6, one.rng)),
    "telephone": Condition("by telephone", lambda one: conditions.telephone(one.waveform)),
    "opus16": Condition("Opus, 16 kbit/s", lambda one: conditions.opus(one.waveform, 16_000)),
    "slower": Condition("0.9 times as fast", lambda one: conditions.speed(one.waveform, 0.9)),
    "faster": Condition("1.1 times as fast", lambda one: conditions.speed(one.waveform, 1.1)),
}


def chosen_conditions(names: Sequence[str]) -> tuple[str, ...]:
    """Names of conditions, of "all" those that there are; UserError for one that there is not, or none."""
    if not names:
        raise UserError(f"--conditions: give all, or some of {', '.join(CONDITIONS)}.")
    if "all" in names:
        return tuple(CONDITIONS)
    if unknown := [name for name in names if name not in CONDITIONS]:
        raise UserError(f"--conditions {unknown[0]}: there are all, {', '.join(CONDITIONS)}.")
    return tuple(dict.fromkeys(names))


def heard_as(name: str, number: int, waveforms: Sequence[np.ndarray], speakers: Sequence[str], seed: int) -> np.ndarray:
    """A recording of a set under a condition, float32 [n], at least 0.1 s.

    Args:
        name: of the condition.
        number: of the recording; with the name and the seed it decides on all that is random.
        waveforms: of the set, int16 [n] each, 16 kHz.
        speakers: of each.
        seed: of noise, rooms and babble.
    """
    rng = np.random.default_rng((seed, number, zlib.crc32(name.encode())))
    strangers = np.flatnonzero(np.asarray(speakers) != speakers[number])
    others = [_as_float(waveforms[k]) for k in rng.choice(strangers, _TALKERS)] if len(strangers) else []
    found = CONDITIONS[name].change(Heard(_as_float(waveforms[number]), others, rng))
    return np.pad(found, (0, max(0, _SHORTEST - len(found))))


def _as_float(pcm: np.ndarray) -> np.ndarray:
    return pcm.astype(np.float32) / 32768
