"""How much the loudness of speech goes up and down: after the first pretext task of Goncalves & Busso (2022)."""

import numpy as np

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.teachers.batches import Windows
from liser_ray.teachers.targets import NOBODY, Target
from liser_ray.teachers.teacher import Answer, Teacher

WINDOW_S, HOP_S = 3.0, 0.5
LABELS = ("deviation_db",)
FRAME_SAMPLES, STRIDE_SAMPLES = SAMPLE_RATE_HZ // 40, SAMPLE_RATE_HZ // 100
RANGE_DB = 20.0
"""A frame is speech if it is not further below the speech's level: about 30 dB below the loudest ones, since most rooms
are no quieter than 40 dB below them."""

# So weighed, a frame's power does not depend on where in a period of the voice it begins.
_WEIGHTS = np.hanning(FRAME_SAMPLES + 2)[1:-1] / np.hanning(FRAME_SAMPLES + 2).sum()


def energy_variation(sound: np.ndarray) -> float:
    """Standard deviation over time of the level of speech, in dB.

    The level is that of frames of 25 ms every 10 ms. That of all speech is their mean, in which each weighs as much as
    it is loud (its amplitude), so that silence counts for nothing, however much there is; and speech are the frames
    that are no more than `RANGE_DB` below it. Softer or louder as a whole, a sound has the same variation.

    Args:
        sound: float [n], n of at least one frame, in any unit.

    Returns:
        0 of a steady sound, and of digital silence.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound.astype(np.float64), FRAME_SAMPLES)[::STRIDE_SAMPLES]
    power = np.square(frames) @ _WEIGHTS
    power = power[power > 0]
    if not len(power):
        return 0.0
    level = 10 * np.log10(power)
    speech = level >= np.average(level, weights=np.sqrt(power)) - RANGE_DB
    return float(level[speech].std())


class EnergyTeacher(Teacher):
    """Of each 3 s of sound, float32 [48000], `energy_variation`."""

    def __init__(self, name: str):
        self.targets = (Target(name, "scalar", LABELS, WINDOW_S, HOP_S, "energy 2", name, tuned_on=NOBODY),)

    def __call__(self, windows: Windows) -> dict[str, Answer]:
        """Float32 [N, 1], 0 or more."""
        values = np.array([energy_variation(one) for one in windows], np.float32)
        return {self.targets[0].name: Answer(values.reshape(-1, 1))}


def load_energy_teacher(name: str, *_: object) -> EnergyTeacher:
    """It needs no weights and computes on the CPU. See `liser_ray.teachers.kinds.energy`."""
    return EnergyTeacher(name)
