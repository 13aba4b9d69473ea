"""DeepFace's face detectors, by name, on frames of any size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from liser_ray.media import yunet
from liser_ray.media.frame import SampledFrame
from liser_ray.runtime.errors import UserError

Point = tuple[float, float]

DETECT_LONG_SIDE_PX = 640
"""Frames are scaled down to this for detection. YuNet takes no more; the face of someone who speaks to a camera is then
60 px and more, which is enough for the others too, and Haar's cascade would need seconds for a larger picture."""

_FIRST_SIDE_PX, _WIDE_PX = 384, 48
"""Detection first looks at a picture of as many pixels as a square of this side, which takes about half the time, and
is content if it finds a face of this width there: its box is then as steady, and faces of half its width, the
smallest that matter beside it, are found (benchmarks/results/first_look.md)."""

_MIN_EYE_DISTANCE = 0.2  # of the box's width: closer, the head is turned away and the angle is noise
_MAX_EYE_DISTANCE = 0.9
_MAX_EYE_ANGLE_DEG = 60.0


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the upright full-size frame (pixel i covers [i, i + 1)).

    Attributes:
        x, y: left and upper edge of the box; may lie outside the frame.
        width, height: of the box, > 0.
        eyes: centres of the two eyes, the one further left *in the picture* first; None where they can't be trusted.
    """

    x: float
    y: float
    width: float
    height: float
    eyes: tuple[Point, Point] | None = None

    @property
    def center(self) -> Point:
        """Centre of the box."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def points(self) -> np.ndarray:
        """Corner, size, and both eyes where they are known; float64 [2 or 4, 2]."""
        return np.array([(self.x, self.y), (self.width, self.height), *(self.eyes or ())], float)

    @classmethod
    def of(cls, points: np.ndarray) -> Self:
        """The face that has these `points`."""
        (x, y), (width, height), *eyes = map(tuple, points.tolist())
        return cls(x, y, width, height, (eyes[0], eyes[1]) if eyes else None)


def check_detector(name: str) -> None:
    """Makes sure, before any work starts, that a detector can be used here; downloads its weights where possible.

    Raises:
        UserError: no such detector, no package for it, or no weights to be had; says which file goes where.
    """
    from deepface.commons import folder_utils
    from deepface.modules import modeling

    names = sorted(modeling.AVAILABLE_MODELS["face_detector"])
    if name not in names:
        raise UserError(f"no face detector {name!r}: choose one of {', '.join(names)}")
    weights_dir = Path(folder_utils.get_deepface_home(), ".deepface/weights")
    try:
        if name != "opencv":  # whose cascade comes with OpenCV
            weights_dir.mkdir(parents=True, exist_ok=True)
        _finder(name)(np.zeros((64, 64, 3), np.uint8))  # a damaged file may load and fail here
    except (Exception, SystemExit) as error:
        raise UserError(
            f"the face detector {name!r} can't be used: {error} "
            f"(DeepFace keeps weights in {weights_dir}: put the file there, or set DEEPFACE_HOME to the folder that "
            f"holds .deepface/weights, or choose another detector; 'opencv' needs no download)"
        ) from error


class FaceDetector:
    """One of DeepFace's detectors (`deepface.modules.modeling.AVAILABLE_MODELS["face_detector"]`).

    DeepFace's `extract_faces` would pad, crop, rotate and normalise every face of every frame; only boxes and eyes are
    needed here. For one thread: a cascade keeps what it is working on in itself, and threads that share one are told
    faces of each other's pictures.
    """

    def __init__(self, name: str):
        cv2.setNumThreads(1)  # there is a process per core: more threads would only get in each other's way
        self._find = _finder(name)

    def __call__(self, frame: SampledFrame) -> tuple[Face, ...]:
        """Finds the faces of a frame, the widest first."""
        width, height = frame.size
        found: list[Face] = []
        full = min(1.0, DETECT_LONG_SIDE_PX / max(width, height))
        for scale in (min(full, _FIRST_SIDE_PX / math.sqrt(width * height)), full):
            small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
            faces = self._find(frame.rgb(small_width, small_height))
            found = [Face.of(face.points * [width / small_width, height / small_height]) for face in faces]
            found = sorted((f for f in found if f.width > 0 and f.height > 0), key=lambda f: -f.width)
            if scale == full or (found and found[0].width * scale >= _WIDE_PX):
                break
        return tuple(found)


def _finder(name: str) -> Callable[[np.ndarray], list[Face]]:
    """What finds the faces of a picture (uint8 [height, width, 3], RGB), in its pixels."""
    from deepface.commons import folder_utils
    from deepface.modules import modeling

    build = modeling.get_model_class(task="face_detector", model_name=name)  # `build_model` would share one with all
    if name == "yunet":
        path = Path(folder_utils.get_deepface_home(), ".deepface/weights", yunet.FILE_NAME)
        if not path.is_file():
            build()  # fetches it
        return lambda picture: [_face(*row[:4], row[4:6], row[6:]) for row in yunet.find(path, picture).tolist()]
    model: Any = build()

    def find(picture: np.ndarray) -> list[Face]:
        regions = model.detect_faces(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))  # DeepFace speaks BGR
        return [_face(one.x, one.y, one.w, one.h, one.left_eye, one.right_eye) for one in regions]

    return find


def _face(x: float, y: float, width: float, height: float, *eyes: Sequence[float] | None) -> Face:
    """A face whose eyes are in the picture's order, or not known where they lie as no eyes do.

    "Left" should be the person's own left, but the detectors don't all keep to it; the picture's order is clear.
    """
    points = sorted((float(eye[0]), float(eye[1])) for eye in eyes if eye is not None)
    face = Face(float(x), float(y), float(width), float(height), (points[0], points[1]) if len(points) == 2 else None)
    return face if _plausible_eyes(face) else replace(face, eyes=None)


def _plausible_eyes(face: Face) -> bool:
    """Whether the eyes lie where eyes can lie (Haar's cascade takes nostrils and brows for eyes)."""
    if face.eyes is None:
        return False
    (x0, y0), (x1, y1) = face.eyes
    distance = float(np.hypot(x1 - x0, y1 - y0))
    angle_deg = float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))
    inside = all(
        -0.1 * face.width <= x - face.x <= 1.1 * face.width and 0 <= y - face.y <= 0.7 * face.height
        for x, y in face.eyes
    )
    return (
        inside
        and _MIN_EYE_DISTANCE * face.width <= distance <= _MAX_EYE_DISTANCE * face.width
        and abs(angle_deg) <= _MAX_EYE_ANGLE_DEG
    )
