"""The demo's speakers: a face and a voice each, drawn from a seed."""

from dataclasses import dataclass

import numpy as np

from liser_ray.demo.faces import Face
from liser_ray.demo.voices import Voice, random_voice

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised")
"""Five of RAVDESS's eight, in RAVDESS's order: the ones that a warped portrait and a synthetic voice can tell apart."""

FACE_LABELS = ("angry", "happy", "neutral", "sad", "surprise")
"""Outputs of the demo's face teacher: five of FERV39k's seven, in FERV39k's order and spelling."""

GROUPS = {"videos": 0, "audio": 1, "speech_base": 2, "face_teacher": 3, "sentences": 4, "speech": 5}
"""Groups of speakers without a common member: each draws its people from a random stream of its own."""


@dataclass(frozen=True)
class Person:
    """A speaker."""

    face: Face
    voice: Voice


def person(seed: int, group: str, number: int) -> Person:
    """One of a group's people; the same arguments give the same person."""
    rng = np.random.default_rng([seed, GROUPS[group], number, 0])
    return Person(face=Face(rng), voice=random_voice(rng))


def take_rng(seed: int, group: str, number: int, take: int = 1) -> np.random.Generator:
    """The random stream of one of a person's recordings; ``take`` counts from 1."""
    return np.random.default_rng([seed, GROUPS[group], number, take])


def face_label(emotion: str) -> str:
    """FERV39k's name of one of `EMOTIONS`."""
    return "surprise" if emotion == "surprised" else emotion
