"""A residual network on descriptors of the voice, of a whole span at a time: EmoDistill's prosodic teacher.

`jobs/finetune_prosody_teacher.py` trains them.
"""

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
    """Which prosodic teacher, or teachers.

    Attributes:
        weights: a folder that finetune_prosody_teacher.py has made, here or on S3. Its last part may be a pattern, such
            as out/prosody/fold-*: its folders give targets of their own (NAME_fold_0 ...).
        batch_size: spans per forward pass.
        embedding: store for each span also the vector that the last layer reads, in float16.
    """

    weights: str = ""
    batch_size: int = 16
    embedding: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"The batch_size of a prosodic teacher is {self.batch_size}; give at least one span.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device, in float32 whatever the others' precision: it is small.

    Raises:
        UserError: a folder or a weight is missing, or nothing matches a pattern.
    """
    from liser_ray.teachers.prosody.teacher import load_prosody_teacher

    return load_prosody_teacher(name, options, device)
