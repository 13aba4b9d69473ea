"""A text classifier of Transformers (BERT and its kin), asked about the transcript of the whole span."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.targets import Takes

if TYPE_CHECKING:
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

TAKES: Takes = "text"


@dataclass(frozen=True)
class Options:
    """Which teacher of words, or teachers.

    Attributes:
        weights: a folder, s3:// or hf:// address. The last part of a folder or S3 prefix may be a pattern, such as
            out/words/fold-*: its folders give targets of their own (NAME_fold_0 ...).
        batch_size: transcripts per forward pass.
        labels: names of the outputs, in order. Empty: those in the folder.
        embedding: store also the vector that the classifier's last layer reads, in float16, of which students of
            EmoDistill learn.
    """

    weights: str = ""
    batch_size: int = 32
    labels: tuple[str, ...] = ()
    embedding: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"The batch_size of a words teacher is {self.batch_size}; give at least one transcript.")


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device.

    Raises:
        UserError: a folder or a weight is missing, nothing matches a pattern, or labels are not named.
    """
    from liser_ray.teachers.words import load_words_teacher

    return load_words_teacher(name, options, device, precision)
