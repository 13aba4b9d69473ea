"""Whether it is the face that is heard: how the motion of its mouth goes together with the sound.

Windows of which it is known that it is not are invalid for all other teachers of clips, and a span in which the face
never speaks is filtered, if this teacher is required.
"""

from dataclasses import dataclass

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

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


load = later("liser_ray.teachers.speaks", "load_speaks_teacher")
