"""Aligned face crops, and their windows of 16."""

import cv2
import numpy as np

from liser_ray.media import yuv
from liser_ray.media.detector import Face
from liser_ray.media.frame import Box, SampledFrame
from liser_ray.media.yuv import CROP_PX

WINDOW_CELLS = 16
NO_SHOT = -1
"""Shot number of a cell that shows no picture."""

_FILTER_PX = 4.0  # how far around a pixel of the scaled picture FFmpeg's filter and the interpolation reach
_SCALES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.09375, 0.0625)


def crop_side_px(face: Face, margin: float) -> float:
    """Side of the square that is cut out, in pixels of the full-size frame."""
    return max(face.width, face.height) * (1 + margin)


def crop_matrix(face: Face, margin: float) -> np.ndarray:
    """Where the full-size frame's points go in the crop.

    The square is centred on the box and turned about its centre until the eyes are level; nothing is sheared or
    stretched. Without eyes it isn't turned.

    Returns:
        float64 [2, 3], an affine map between continuous coordinates (pixel i covers [i, i + 1)) in pixels.
    """
    angle_rad = 0.0
    if face.eyes is not None:
        (x0, y0), (x1, y1) = face.eyes
        angle_rad = float(np.arctan2(y1 - y0, x1 - x0))
    scale = CROP_PX / crop_side_px(face, margin)
    cos, sin = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
    turn = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([CROP_PX / 2, CROP_PX / 2]) - turn @ np.array(face.center)
    return np.column_stack([turn, shift])


def picture_scale(side_px: float) -> float:
    """How much smaller than full size the picture may be that a square of `side_px` is cut from.

    FFmpeg shrinks with a filter as wide as it has to be, warpAffine does not: what it shrinks by more than about 1.5
    aliases. A few fixed steps instead of the exact figure, so that the size (and with it FFmpeg's scaler and the
    sharpness) stays the same while the face moves.
    """
    return min((s for s in _SCALES if s * side_px >= CROP_PX), default=1.0)


def crop_face(frame: SampledFrame, face: Face, margin: float) -> np.ndarray:
    """The face, upright and square.

    What lies outside the frame is filled with the frame's edge: a black bar would be the sharpest edge in the picture.

    Returns:
        The packed picture, uint8 [337, 224], see `liser_ray.media.yuv`.
    """
    matrix = crop_matrix(face, margin) @ frame.upright
    scale = picture_scale(crop_side_px(face, margin))
    part = frame.part(_seen_by(matrix, _FILTER_PX / scale), scale)
    matrix[:, 2] += matrix[:, :2] @ [part.x, part.y]
    matrix[:, :2] /= [part.scale_x, part.scale_y]
    picture = np.empty((yuv.PACKED_ROWS, CROP_PX), np.uint8)
    for plane, to, pixels in zip(part.planes, yuv.planes(picture), (1, 2, 2), strict=True):
        # A sample of U and V is as two pixels wide, on both sides. OpenCV counts from samples' centres: index =
        # continuous coordinate - 0.5, on both sides.
        own = matrix.copy()
        own[:, 2] = matrix[:, 2] / pixels + matrix[:, :2].sum(axis=1) / 2 - 0.5
        cv2.warpAffine(plane, own, to.shape, to, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    picture[-1] = part.colours
    return picture


def _seen_by(matrix: np.ndarray, around_px: float) -> Box:
    """The rectangle of the picture that holds all that a crop shows, and as much around it."""
    corners = np.array([[0, 0], [CROP_PX, 0], [0, CROP_PX], [CROP_PX, CROP_PX]])
    points = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    (left, top), (right, bottom) = points.min(axis=1) - around_px, points.max(axis=1) + around_px
    return float(left), float(top), float(right), float(bottom)


def windows(values: np.ndarray) -> np.ndarray:
    """Cells [n_cells, ...] cut into windows [W, WINDOW_CELLS, ...], a view; what is left at the end belongs to none."""
    count = len(values) // WINDOW_CELLS
    return values[: count * WINDOW_CELLS].reshape(count, WINDOW_CELLS, *values.shape[1:])


def window_valid(found: np.ndarray, shots: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far each window can be trusted to show the followed person, and only that person.

    Args:
        found: bool [n_cells], the followed face is in the cell.
        shots: int [n_cells], number of the shot that the cell shows, or `NO_SHOT`.
        others: bool [n_cells], another person is in the cell.

    Returns:
        float32 [W], 0..1: the share of cells with the face; 0 where the window has pictures of two shots or another
        person.
    """
    in_shots = windows(shots)
    first_shot = np.where(in_shots == NO_SHOT, np.iinfo(in_shots.dtype).max, in_shots).min(axis=1, initial=2**31)
    one_shot = ((in_shots == NO_SHOT) | (in_shots == first_shot[:, None])).all(axis=1)
    alone = ~windows(others).any(axis=1)
    return (windows(found).mean(axis=1) * one_shot * alone).astype(np.float32)


def window_boxes(boxes: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Mean of each window's boxes [n_cells, 4] that were found (bool [n_cells]); float32 [W, 4], zeros for none."""
    counts = windows(found).sum(axis=1)[:, None]
    sums = (windows(boxes) * windows(found)[..., None]).sum(axis=1)
    return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0).astype(np.float32)
