"""Face pictures as they travel to the teachers: brightness in full size, colours in half, as decoders give them.

A packed picture is uint8 [337, 224]: 224 rows of Y; 56 of U and 56 of V, each of which has two rows of 112 samples; and
one of the number of its colours. That is half the bytes of RGB, and nothing is converted before a teacher
asks for it, on its own device.
"""

import cv2
import numpy as np

CROP_PX = 224
"""Side of a face picture."""
PACKED_ROWS = CROP_PX * 3 // 2 + 1

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Y [height, width]; U and V, of half the sides, rounded up: sample i lies in the middle of pixels 2 i and 2 i + 1."""

_RED_AND_BLUE = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_RED_AND_BLUE[6] = _RED_AND_BLUE[5]  # BT.601 of 525 lines
_BT601 = 5


def colours_number(matrix: int, full_range: bool) -> int:
    """The number of a picture's colours: FFmpeg's AVColorSpace times 2, and 1 for full range (0..255).

    What has no matrix of its own is taken for BT.601, as FFmpeg does.
    """
    return 2 * (matrix if matrix in _RED_AND_BLUE else _BT601) + full_range


def _to_rgb(matrix: int, full_range: bool) -> np.ndarray:
    """From Y, U, V and 1 to R, G, B (ITU-T H.273, equations 38 to 40), float64 [3, 4], all 0..255."""
    red, blue = _RED_AND_BLUE[matrix]
    green = 1 - red - blue
    linear = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    linear *= [1, 1, 1] if full_range else [255 / 219, 255 / 224, 255 / 224]
    return np.column_stack([linear, -linear @ [0 if full_range else 16, 128, 128]])


TO_RGB = np.zeros((2 * max(_RED_AND_BLUE) + 2, 3, 4), np.float32)
"""By the colours' number. 0, that of zeros, stands for no picture: it is black."""
for _matrix in _RED_AND_BLUE:
    for _full in (False, True):
        TO_RGB[colours_number(_matrix, _full)] = _to_rgb(_matrix, _full)

OF_RGB = colours_number(_BT601, True)
"""Colours of `planes_of_rgb`."""
_FROM_RGB = np.linalg.inv(np.vstack([TO_RGB[OF_RGB], [0, 0, 0, 1]]))[:3]


def planes_of_rgb(rgb: np.ndarray) -> Planes:
    """A picture's planes, of uint8 [height, width, 3]."""
    height, width = rgb.shape[:2]
    even = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    half = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.transform(rgb, _FROM_RGB[:1]), cv2.transform(half, _FROM_RGB[1:2]), cv2.transform(half, _FROM_RGB[2:])


def planes(picture: np.ndarray) -> Planes:
    """Those of a packed picture, views."""
    u, v = picture[CROP_PX:-1].reshape(2, CROP_PX // 2, CROP_PX // 2)
    return picture[:CROP_PX], u, v


def rgb(picture: np.ndarray, side_px: int = CROP_PX, to: np.ndarray | None = None) -> np.ndarray:
    """A packed picture as RGB: uint8 [side_px, side_px, 3]; ``side_px`` at most 224, ``to`` is where it goes."""
    sized = [
        cv2.resize(one, (side_px, side_px), interpolation=cv2.INTER_LINEAR if side_px > len(one) else cv2.INTER_AREA)
        for one in planes(picture)
    ]
    return cv2.transform(cv2.merge(sized), TO_RGB[picture[-1, 0]], to)
