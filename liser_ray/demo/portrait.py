"""The one photograph behind all faces of the demo, and where its parts are.

`skimage.data.astronaut` is NASA's portrait of Eileen Collins (public domain, no known copyright restrictions); its file
comes inside scikit-image's wheel. All coordinates of `liser_ray.demo` are pixels of that picture; textures are kept
`SCALE` times larger, which is the size of the demo's frames.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import skimage.data

SCALE = 1.5
LEFT, TOP, WIDTH, HEIGHT = 64, 0, 320, 264  # the part that is used: head, collar, shoulders
FRAME_SIZE_PX = (480, 360)  # width and height; the lowest rows are a reserve for head motion

MOUTH_X, MOUTH_HALF_WIDTH = 223.0, 21.0
EYES = ((203.0, 101.0), (247.0, 103.0))
BROWS = (((190.0, 90.0), (200.0, 88.5), (211.0, 91.5)), ((262.0, 95.0), (250.0, 92.5), (238.0, 93.0)))  # outer to inner
CHIN = (222.0, 178.0)
_FOLDS = (((208, 121), (203, 128), (196, 134), (195, 141)), ((235, 122), (242, 129), (249, 136), (251, 143)))


def mouth_corner_y(u: np.ndarray) -> np.ndarray:
    """The line between the corners of the smiling mouth at u in -1..1 (left to right corner)."""
    return 140.25 + 0.75 * u


def upper_lip_y(u: np.ndarray) -> np.ndarray:
    """The inner edge of the upper lip in the photograph."""
    return mouth_corner_y(u) + 3.8 * (1 - u**2)


def lower_lip_y(u: np.ndarray) -> np.ndarray:
    """The inner edge of the lower lip in the photograph."""
    return mouth_corner_y(u) + 9.6 * (1 - np.abs(u) ** 2.2)


def texels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the photograph as those of a texture, float32, for `cv2.remap`."""
    return (
        ((x - LEFT + 0.5) * SCALE - 0.5).astype(np.float32),
        ((y - TOP + 0.5) * SCALE - 0.5).astype(np.float32),
    )


@dataclass(frozen=True)
class Portrait:
    """Textures at `SCALE`, [H, W, ...] float32; masks 0..1."""

    rgb: np.ndarray  # 0..255, as photographed: a smile
    relaxed_rgb: np.ndarray  # the same with the folds between nose and mouth smoothed away
    person: np.ndarray  # 1 on the person, 0 on the backdrop
    hair: np.ndarray
    suit: np.ndarray
    brows: np.ndarray
    x: np.ndarray  # coordinates of the photograph, of each texel
    y: np.ndarray


@cache
def portrait() -> Portrait:
    """The photograph, cut into person, hair and suit (half a second, once per process)."""
    crop = skimage.data.astronaut()[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
    size = (round(WIDTH * SCALE), round(HEIGHT * SCALE))
    x, y = np.meshgrid(LEFT + (np.arange(size[0]) + 0.5) / SCALE - 0.5, TOP + (np.arange(size[1]) + 0.5) / SCALE - 0.5)
    person = cv2.resize(cv2.GaussianBlur(_person_mask(crop), (0, 0), 0.8), size, interpolation=cv2.INTER_LINEAR)
    rgb = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)

    below_brows = 1 / (1 + np.exp(-(y - 84) / 2.0))
    face = ((x - 224) / 45) ** 2 + ((y - 128) / 56) ** 2
    skin = below_brows / (1 + np.exp((face - 1) * 14))
    value = cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), 3), cv2.COLOR_RGB2HSV)[..., 2].astype(np.float32)
    dark = 1 / (1 + np.exp((value - 205) / 10))  # the forehead is bright, the fringe is not
    hair = person * (1 - skin) * np.where(y < 100, dark, 1) / (1 + np.exp((y - 133) / 4))
    suit = person / (1 + np.exp(-(y - 186) / 3)) + person * (1 - skin) * (y > 146) * (np.abs(x - 222) > 44)
    return Portrait(
        rgb=rgb.astype(np.float32),
        relaxed_rgb=_without_folds(rgb).astype(np.float32),
        person=np.clip(person, 0, 1).astype(np.float32),
        hair=cv2.GaussianBlur(np.clip(hair, 0, 1).astype(np.float32), (0, 0), 2),
        suit=cv2.GaussianBlur(np.clip(suit, 0, 1).astype(np.float32), (0, 0), 1.5),
        brows=_drawn(BROWS, size, thickness=3, blur=1.5),
        x=x.astype(np.float32),
        y=y.astype(np.float32),
    )


def _person_mask(crop: np.ndarray) -> np.ndarray:
    """Person against backdrop by GrabCut from a rough drawing; float32 0..1 [HEIGHT, WIDTH]."""
    mask = np.full(crop.shape[:2], cv2.GC_PR_BGD, np.uint8)

    def at(points: list[tuple[int, int]]) -> np.ndarray:
        return np.array([[x - LEFT, y - TOP] for x, y in points], np.int32)

    cv2.ellipse(mask, (224 - LEFT, 84), (82, 76), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.fillPoly(
        mask, [at([(100, 264), (112, 190), (150, 150), (250, 176), (275, 185), (320, 240), (350, 264)])], cv2.GC_PR_FGD
    )
    cv2.ellipse(mask, (226 - LEFT, 96), (56, 62), 0, 0, 360, cv2.GC_FGD, -1)
    cv2.fillPoly(
        mask, [at([(130, 262), (134, 195), (160, 160), (185, 150), (240, 170), (256, 184), (290, 215), (296, 262)])], 1
    )
    mask[:10] = cv2.GC_BGD
    mask[:150, : 140 - LEFT] = mask[:150, 312 - LEFT :] = mask[:, 352 - LEFT :] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(crop, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)


def _without_folds(rgb: np.ndarray) -> np.ndarray:
    """The face at rest: the folds that the smile makes are filled from the skin around them."""
    size = (rgb.shape[1], rgb.shape[0])
    filled = cv2.inpaint(rgb, (_drawn(_FOLDS, size, thickness=8) * 255).astype(np.uint8), 5, cv2.INPAINT_TELEA)
    soft = 0.85 * _drawn(_FOLDS, size, thickness=8, blur=2.5)[..., None]
    return rgb * (1 - soft) + cv2.GaussianBlur(filled, (0, 0), 2) * soft


def _drawn(
    lines: tuple[tuple[tuple[float, float], ...], ...], size: tuple[int, int], thickness: int, blur: float = 0.0
) -> np.ndarray:
    """Lines as a mask 0..1 of the texture's size, float32 [H, W]."""
    mask = np.zeros((size[1], size[0]), np.float32)
    for line in lines:
        points = np.array([[round((x - LEFT) * SCALE), round((y - TOP) * SCALE)] for x, y in line], np.int32)
        cv2.polylines(mask, [points], isClosed=False, color=1.0, thickness=thickness)
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask
