"""A trained student as a teacher: the kind ``student`` (see `liser_ray.teachers.kinds`)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.targets import Takes

if TYPE_CHECKING:
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

TAKES: Takes = "sound"


@dataclass(frozen=True)
class Options:
    """Which student, or students.

    Attributes:
        weights: a student's folder, .onnx file, s3:// or hf:// address. The last part of a folder or S3 prefix may be a
            pattern, such as out/student/seed-0-fold-*: its folders give targets of their own.
        batch_size: 0.5-s windows at a time, each heard with 3 s around its middle.
    """

    weights: str = ""
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"The batch_size of a student is {self.batch_size}; give at least one window.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device, in float32 whatever is wished: a student is small.

    Raises:
        UserError: there is no student, or nothing matches a pattern.
    """
    from liser_ray.prediction.student_teacher import load_student_teacher

    return load_student_teacher(name, options, device)
