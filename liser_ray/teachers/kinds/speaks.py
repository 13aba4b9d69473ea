"""Whether it is the face that is heard: how the motion of its mouth goes together with the sound.

Windows of which it is known that it is not are invalid for all other teachers of clips, and a span in which the face
never speaks is filtered, if this teacher is required.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.targets import Takes

if TYPE_CHECKING:
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

TAKES: Takes = "clips"


@dataclass(frozen=True)
class Options:
    """With what, and from where on.

    Attributes:
        weights: path, s3:// or hf://owner/name/file address of S2D's landmark network.
        threshold: a window whose correlation is below it does not teach, -1..1; by default nine of ten windows of
            people who speak stay. -1: the correlation is stored, and nothing is made of it.
    """

    weights: str = ""
    threshold: float = 0.15

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise UserError("The threshold of a speaks teacher is a correlation: give a number from -1 to 1.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device, in float32 whatever the others' precision.

    Raises:
        UserError: weights that are missing, or of another network.
    """
    from liser_ray.teachers.speaks import load_speaks_teacher

    return load_speaks_teacher(name, options, device)
