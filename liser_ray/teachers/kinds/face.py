"""A classifier of face pictures: each of a clip's frames by itself, softmaxes averaged over the window."""

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
    """Which classifier of faces.

    Attributes:
        weights: path, s3:// or hf://owner/name/file address of the YAML file that describes it: an ONNX file or an
            image classifier of Transformers, and how pictures go in (docs/label.md).
        labels: names of the outputs, in order. Empty: those in the YAML file or of the model.
        batch_size: clips per forward pass; 0: 16 on a GPU, 1 on a CPU.
    """

    weights: str = ""
    labels: tuple[str, ...] = ()
    batch_size: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise UserError("The batch_size of a face teacher must be 0 (fitted to the device) or more.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device.

    Raises:
        UserError: wrong YAML, missing weights, a model that doesn't take such frames, labels that don't fit.
    """
    from liser_ray.teachers.faces import load_face_teacher

    return load_face_teacher(name, options, device, precision)
