"""S2D (Chen et al. 2023), a transformer of face clips guided by landmarks: the paper's video teacher."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

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


load = later("liser_ray.teachers.s2d_teacher", "load_s2d_teacher")
