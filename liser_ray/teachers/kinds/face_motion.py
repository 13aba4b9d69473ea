"""How much a face moves in half a second, its mouth and the motion of the head left out."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

TAKES: Takes = "clips"


@dataclass(frozen=True)
class Options:
    """Which landmark network.

    Attributes:
        weights: path, s3:// or hf://owner/name/file address of S2D's landmark network.
    """

    weights: str = ""


load = later("liser_ray.teachers.face_motion", "load_face_motion_teacher")
