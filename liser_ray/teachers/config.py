"""Settings of the teachers; nothing here takes time to import."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class VideoTeacherConfig:
    """Which video teacher.

    Attributes:
        kind: ``s2d``, or ``static`` for a classifier of single frames.
        weights: path, s3:// or hf://owner/name/file address: of an S2D checkpoint (PyTorch or safetensors), or of the
            YAML file that describes a static classifier.
        landmark_weights: the same of S2D's landmark network; not used by ``static``.
        labels: names of the outputs, in order. Empty: those in the file; if it has none (as the published S2D files),
            FERV39k's: angry, disgust, fear, happy, neutral, sad, surprise.
        batch_size: clips per forward pass; 0: 16 on a GPU, 1 on a CPU, where larger ones only cost memory traffic
            (see benchmarks).
    """

    kind: Literal["s2d", "static"] = "s2d"
    weights: str = ""
    landmark_weights: str = ""
    labels: tuple[str, ...] = ()
    batch_size: int = 0
