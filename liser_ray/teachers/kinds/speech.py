"""An audio classifier of Transformers, whole or as an adapter: HuBERT and its kin on 0.5-s windows.

The paper feeds HuBERT 0.5-s pieces on purpose (section 3), so that it sees as much as the video teacher's 16 frames.
"""

from dataclasses import dataclass

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

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
        if self.hears_s and self.hears_s < WINDOW_S:
            raise UserError(f"A speech teacher's hears_s is {self.hears_s}: give {WINDOW_S} seconds or more, or 0.")


load = later("liser_ray.teachers.speech", "load_speech_teacher")
