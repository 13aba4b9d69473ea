"""A trained student as a teacher: the kind ``student`` (see `liser_ray.teachers.kinds`)."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

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


load = later("liser_ray.prediction.student_teacher", "load_student_teacher")
