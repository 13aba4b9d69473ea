"""How much a face moves in half a second, its mouth and the motion of the head left out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liser_ray.teachers.targets import Takes

if TYPE_CHECKING:
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

TAKES: Takes = "clips"


@dataclass(frozen=True)
class Options:
    """Which landmark network.

    Attributes:
        weights: path, s3:// or hf://owner/name/file address of S2D's landmark network.
    """

    weights: str = ""


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device, in float32 whatever the others' precision.

    Raises:
        UserError: weights that are missing, or of another network.
    """
    from liser_ray.teachers.face_motion import load_face_motion_teacher

    return load_face_motion_teacher(name, options, device)
