"""S2D (Chen et al. 2023), a transformer of face clips guided by landmarks: the paper's video teacher."""

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
    """Which S2D.

    Attributes:
        weights: path, s3:// or hf://owner/name/file address of an S2D checkpoint (PyTorch or safetensors).
        landmark_weights: the same of its landmark network.
        labels: names of the outputs, in order. Empty: those in the file; if it has none (as the published files),
            FERV39k's: angry, disgust, fear, happy, neutral, sad, surprise.
        batch_size: clips per forward pass; 0: 16 on a GPU, 1 on a CPU, where larger ones only cost memory traffic
            (see benchmarks).
    """

    weights: str = ""
    landmark_weights: str = ""
    labels: tuple[str, ...] = ()
    batch_size: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise UserError("The batch_size of an s2d teacher must be 0 (fitted to the device) or more.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device.

    Raises:
        UserError: weights that are missing, of another network, or whose outputs don't fit the labels.
    """
    from liser_ray.teachers.s2d_teacher import load_s2d_teacher

    return load_s2d_teacher(name, options, device, precision)
