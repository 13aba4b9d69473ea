"""How much a face moves, mouth and head left out: after the second pretext task of Goncalves & Busso (2022)."""

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.teachers.clips import CLIP_S, ClipTeacher
from liser_ray.teachers.kinds.face_motion import Options
from liser_ray.teachers.landmarks import aligned, landmarks
from liser_ray.teachers.mobilefacenet import LANDMARK_HINT, MobileFaceNet, load_mobilefacenet
from liser_ray.teachers.targets import NOBODY, Target

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


def face_motion_teacher(name: str, network: MobileFaceNet, digest: str, device: torch.device) -> ClipTeacher:
    """Of each clip `face_motion`, by a landmark network; in float32 on any device, since what trembles is motion."""
    network = network.float().to(device)

    def measure(clips: Tensor) -> Tensor:
        found = landmarks(network, clips).cpu().numpy()
        return torch.tensor([[face_motion(one)] for one in found], dtype=torch.float32)

    teacher = ClipTeacher(name, LABELS, digest, 0, device, "float32", measure)
    teacher.targets = (Target(name, "scalar", LABELS, CLIP_S, CLIP_S, digest, name, tuned_on=NOBODY),)
    return teacher


def load_face_motion_teacher(name: str, options: Options, device: torch.device) -> ClipTeacher:
    """Fetch, check and load the landmark network. See `liser_ray.teachers.kinds.face_motion`."""
    path = fetch(options.weights, f"{LANDMARK_HINT} {name}=face_motion:LANDMARK_WEIGHTS.")
    return face_motion_teacher(name, load_mobilefacenet(path), f"{sha256(path)}+face_motion 1", device)
