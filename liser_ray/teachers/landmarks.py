"""68 landmarks of a face, and what of their motion is left when head and camera keep still."""

import numpy as np
from torch import Tensor

from liser_ray.teachers.batches import pictures
from liser_ray.teachers.mobilefacenet import MobileFaceNet

EYES_AND_NOSE = np.r_[27:36, 36:48]
"""Points that speaking does not move."""
_EYE_CORNERS = (36, 45)


def landmarks(network: MobileFaceNet, clips: Tensor) -> Tensor:
    """The 68 points of each picture, float32 [N, T, 68, 2], as shares of its side, of clips uint8 [N, T, H, W, 3]."""
    return network.points(pictures(clips) / 255).unflatten(0, clips.shape[:2])


def aligned(points: np.ndarray, by: np.ndarray = EYES_AND_NOSE) -> np.ndarray:
    """Faces turned, shifted and scaled to their mean shape: motion and size of the head are gone.

    As far as they are in the picture's plane.

    Args:
        points: float [T, 68, 2], in any unit.
        by: numbers of the points that are laid on one another.

    Returns:
        complex128 [T, 68], in units of the distance between the outer corners of the mean shape's eyes.
    """
    z = points[..., 0].astype(np.float64) + 1j * points[..., 1]
    z = z - z[:, by].mean(axis=1, keepdims=True)
    mean = z.mean(axis=0)
    for _ in range(3):  # it settles at once: faces are cut out level and of one size
        rigid = z[:, by]
        factor = (rigid.conj() * mean[by]).sum(axis=1) / (np.abs(rigid) ** 2).sum(axis=1)  # least squares
        mean = (z * factor[:, None]).mean(axis=0)
        unit = abs(mean[_EYE_CORNERS[1]] - mean[_EYE_CORNERS[0]])
        mean /= unit
    return np.asarray(z * factor[:, None] / unit)
