"""An audio classifier of Transformers, whole or as an adapter: HuBERT and its kin on 0.5-s windows.

The paper feeds HuBERT 0.5-s pieces on purpose (section 3), so that it sees as much as the video teacher's 16 frames.
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
WINDOW_S = 0.5


@dataclass(frozen=True)
class Options:
    """Which speech teacher, or teachers.

    Attributes:
        weights: a folder, s3:// or hf:// address. The last part of a folder or S3 prefix may be a pattern, such as
            out/teachers/fold-*: its folders give targets of their own (NAME_fold_0 ...), which share the weights of
            their base model.
        batch_size: windows per forward pass.
        hears_s: seconds of sound around the middle of each 0.5-s window that go in; 0: the window itself.
        labels: names of the outputs, in order. Empty: those in the folder.
        embedding: store for each window also the vector that the classifier's last layer reads, in float16.
        trust_remote_code: run the code that the model brings along, which may do anything; read it first.
    """

    weights: str = ""
    batch_size: int = 64
    hears_s: float = 0.0
    labels: tuple[str, ...] = ()
    embedding: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"The batch_size of a speech teacher is {self.batch_size}; give at least one window.")
        if self.hears_s and self.hears_s < WINDOW_S:
            raise UserError(f"A speech teacher's hears_s is {self.hears_s}: give {WINDOW_S} seconds or more, or 0.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device.

    Raises:
        UserError: a folder or a weight is missing, nothing matches a pattern, or labels are not named.
    """
    from liser_ray.teachers.speech import load_speech_teacher

    return load_speech_teacher(name, options, device, precision)
