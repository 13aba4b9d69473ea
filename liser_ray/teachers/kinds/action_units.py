"""Emotions by the action units of the face (EMFACS): each of a clip's pictures votes for the rule that fires in it."""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

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


load = later("liser_ray.teachers.action_units", "load_action_units_teacher")
