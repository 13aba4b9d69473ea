"""How much the loudness of speech varies in 3 s, whatever its loudness: computed, not learned."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

TAKES: Takes = "sound"


@dataclass(frozen=True)
class Options:
    """It has none."""


def on_cpu(_options: Options) -> bool:
    """It always does."""
    return True


load = later("liser_ray.teachers.energy", "load_energy_teacher")
