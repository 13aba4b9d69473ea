"""Emotions by the action units of the face (EMFACS): each of a clip's pictures votes for the rule that fires in it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liser_ray.teachers.targets import Takes

if TYPE_CHECKING:
    import torch

    from liser_ray.teachers.teacher import Teacher
    from liser_ray.training.precision import Precision

TAKES: Takes = "clips"


@dataclass(frozen=True)
class Options:
    """Who scores the units, and the rules.

    Attributes:
        weights: path, s3:// or hf://owner/name/file address of MediaPipe's face_landmarker.task (for which the package
            ai-edge-litert is to be installed), or of the YAML file that describes an ONNX model with a score for each
            of its labels, as for a teacher of the kind face (docs/label.md).
        rules: the same of a YAML file with units and rules (docs/pretext.md). Empty: EMFACS on MediaPipe's blendshapes.
    """

    weights: str = ""
    rules: str = ""


def on_cpu(options: Options) -> bool:
    """MediaPipe's network does, an ONNX model need not."""
    return not options.weights.endswith((".yaml", ".yml"))


def load(name: str, options: Options, device: "torch.device", precision: "Precision") -> "Teacher":
    """The teacher on a device, in float32 whatever the others' precision.

    Raises:
        UserError: weights that are missing, of something else, or whose scores are not those of the rules; wrong rules.
    """
    from liser_ray.teachers.action_units import load_action_units_teacher

    return load_action_units_teacher(name, options, device)
