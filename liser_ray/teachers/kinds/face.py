"""A classifier of face pictures: each of a clip's frames by itself, softmaxes averaged over the window."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

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


load = later("liser_ray.teachers.faces", "load_face_teacher")
