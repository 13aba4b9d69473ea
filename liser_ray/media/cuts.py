"""Cuts between shots, found on tiny grey pictures.

Two pictures that follow each other in one shot are nearly the same up to a little motion. So each pixel of the one is
compared with the *range* of values in a small neighbourhood of the other, and only what falls outside that range
counts. A head that turns or a hand that waves moves grey values around within the neighbourhood and costs almost
nothing; another scene does not fit into the range.

The threshold was set on 21 real videos (5,900 pictures). Within a shot the difference stays below 0.8 (a face that
fills the picture, shaken fast; a pasted-in caption 0.5; most videos below 0.2). Cuts between scenes have 5 and more, a
switch between two people in the same studio with the same framing (spliced, the hardest case) 2.0 and more. A picture
pasted over a third of the frame has 1.7 to 4 and counts as a cut. The plain mean difference cannot tell these apart: 19
for the shaken face, 8 to 29 for cuts.

Not seen: dissolves of more than about ten pictures, and jump cuts after which the same person sits in nearly the same
place. The first is left to the face track (size, place and colours), the second mixes nobody.
"""

import cv2
import numpy as np

TINY_PX = 32
"""Side of the square grey picture that `difference` takes."""

_REACH_PX = 3  # motion between two pictures that is not a difference: a tenth of the frame's width
_NEIGHBOURHOOD = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)

CUT_DIFFERENCE = 1.25
"""Grey levels (0..255, mean over pixels) above which two successive pictures are two shots."""


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """How much two tiny pictures (uint8 [TINY_PX, TINY_PX]) differ beyond motion, in grey levels; symmetric.

    0: one can be made from the other by motion; 255 at most.
    """
    return (_outside(before, after) + _outside(after, before)) / 2


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a cut lies between two successive tiny pictures (uint8 [TINY_PX, TINY_PX])."""
    return difference(before, after) > CUT_DIFFERENCE


def _outside(picture: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of the picture's pixels from the range of values around the same place in the other."""
    above = cv2.subtract(picture, cv2.dilate(other, _NEIGHBOURHOOD))  # saturates at 0
    below = cv2.subtract(cv2.erode(other, _NEIGHBOURHOOD), picture)
    return cv2.mean(above)[0] + cv2.mean(below)[0]
