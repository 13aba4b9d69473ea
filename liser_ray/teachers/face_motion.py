"""How much a face moves, mouth and head left out: after the second pretext task of Goncalves & Busso (2022)."""

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.clips import ClipTeacher
from liser_ray.teachers.kinds.face_motion import Options
from liser_ray.teachers.landmarks import aligned, landmarks
from liser_ray.teachers.mobilefacenet import LANDMARK_HINT, load_mobilefacenet
from liser_ray.teachers.targets import NOBODY
from liser_ray.training.precision import Precision

LABELS = ("eye_distances_per_s",)
UPPER_FACE = np.r_[17:31, 36:48]
"""Points of brows, eyes and the nose's bridge, which speaking moves least: it moves lips (48 to 67), jaw (4 to 12) and
nostrils (31 to 35), and the rest of the outline is where a head turns. docs/pretext.md has figures."""
SMOOTHED = 5
"""Pictures that are averaged, so that points which tremble count for less than such as move."""


def face_motion(points: np.ndarray) -> float:
    """Mean speed of the points of `UPPER_FACE`, in distances of the outer corners of the eyes per second.

    Faces are laid on one another by the same points first, so that turns and shifts in the picture's plane and another
    distance of the camera are no motion. A head that turns away from the camera is: points are flat.

    Args:
        points: float [T, 68, 2], T more than `SMOOTHED`, of successive pictures at 30 Hz, in any unit.
    """
    shape = aligned(points, UPPER_FACE)[:, UPPER_FACE]
    smooth = np.lib.stride_tricks.sliding_window_view(shape, SMOOTHED, axis=0).mean(axis=-1)
    return float(np.abs(np.diff(smooth, axis=0)).mean() * FRAME_RATE_HZ)


def load_face_motion_teacher(name: str, options: Options, device: torch.device, _: Precision) -> ClipTeacher:
    """Fetch, check and load the landmark network. See `liser_ray.teachers.kinds.face_motion`."""
    path = fetch(options.weights, f"{LANDMARK_HINT} {name}=face_motion:LANDMARK_WEIGHTS.")
    network, digest = load_mobilefacenet(path).to(device), f"{sha256(path)}+face_motion 1"

    def measure(clips: Tensor) -> Tensor:
        found = landmarks(network, clips).cpu().numpy()
        return torch.tensor([[face_motion(one)] for one in found], dtype=torch.float32)

    # In float32 on any device: what trembles in bfloat16 would be motion.
    return ClipTeacher(name, LABELS, digest, 0, device, "float32", measure, "scalar", NOBODY)
