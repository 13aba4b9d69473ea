"""How much the loudness of speech varies in 3 s, whatever its loudness: computed, not learned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liser_ray.teachers.targets import Takes

if TYPE_CHECKING:
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

TAKES: Takes = "sound"


@dataclass(frozen=True)
class Options:
    """It has none."""


def on_cpu(_options: Options) -> bool:
    """It always does."""
    return True


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher, which needs no weights and computes on the CPU."""
    from liser_ray.teachers.energy import EnergyTeacher

    return EnergyTeacher(name)
