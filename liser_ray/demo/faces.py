"""Speakers' faces: the portrait recoloured and reshaped, then moved frame by frame.

A look is drawn once per speaker: skin, hair, suit and backdrop colours, the shape of the head, left and right swapped
or not. A frame is the speaker's texture with an expression (`expressions`), bent to the speaker's shape, moved as a
head moves, before the backdrop.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from liser_ray.demo import portrait as pt
from liser_ray.demo.expressions import EXPRESSIONS, Expression, FaceWarper, scaled, talking

_HAIR_RGB = np.array([[52, 40, 34], [104, 66, 40], [150, 84, 44], [196, 160, 104], [150, 146, 142], [88, 40, 30]])


class Face:
    """A speaker's face, ready to be drawn in any expression."""

    def __init__(self, rng: np.random.Generator) -> None:
        """All that makes a face, drawn once."""
        gamma = rng.uniform(0.85, 1.9)
        backdrop = (
            rng.uniform(50, 205) + rng.normal(0, 22, 3) + rng.normal(0, 8, (4, 5, 3)) + rng.normal(0, 22, (4, 5, 1))
        )
        self._skin_gamma = float(gamma)  # above 1 darker
        skin_gain = [1.0, 1 - 0.05 * gamma + rng.normal(0, 0.02), 1 - 0.10 * gamma + rng.normal(0, 0.03)]
        self._skin_gain = np.array(skin_gain, np.float32)  # per RGB channel
        self._hair_rgb = (_HAIR_RGB[rng.integers(len(_HAIR_RGB))] * rng.uniform(0.85, 1.15)).astype(np.float32)
        self._suit_hue = int(rng.integers(0, 180))  # shift in OpenCV's 0..179
        self._mirrored = bool(rng.integers(2))
        self._brow_weight = float(rng.uniform(0.1, 0.55))  # how dark the brows are
        self._head_width = float(rng.uniform(0.94, 1.09))  # factor at the cheeks
        self._chin_px = float(rng.uniform(-4, 6))  # downwards
        self._eye_distance_px = float(rng.uniform(-2, 2))
        self._nose_px = float(rng.uniform(-2, 3))  # longer
        # What the face does when it does nothing.
        smile, brow_inner_px, eyes = rng.uniform(-0.12, 0.15), rng.normal(0, 0.6), rng.normal(0, 0.06)
        self._calm = Expression(smile=float(smile), brow_inner_px=float(brow_inner_px), eyes=float(eyes))
        self._liveliness = float(rng.uniform(0.85, 1.15))  # factor of every expression
        backdrop = np.clip(backdrop, 5, 250).astype(np.float32)
        smooth = cv2.resize(backdrop, pt.FRAME_SIZE_PX, interpolation=cv2.INTER_CUBIC)
        self._backdrop = smooth.clip(0, 255).astype(np.uint8)
        self._textures: dict[float, np.ndarray] = {}  # by smile: all other expressions share one

    def frames(
        self, emotion: str, mouth: np.ndarray, frame_rate_hz: float, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Talk with an expression: uint8 RGB [360, 480, 3] for each entry of `mouth`.

        Args:
            emotion: one of `liser_ray.demo.people.EMOTIONS`.
            mouth: how far speech opens the mouth in each frame, 0..1, float [n_frames].
            frame_rate_hz: sets how fast head and brows move.
            rng: source of the head's motion, blinks and swings of intensity.
        """
        n_frames, warp, shape = len(mouth), FaceWarper(), self._shape_map()
        texture = self._texture(max(EXPRESSIONS[emotion].smile, 0.0))
        intensity = self._liveliness * (0.95 + 0.12 * _wander(n_frames, frame_rate_hz, 0.8, rng))
        blinks = _blinks(n_frames, frame_rate_hz, rng)
        shift_x, shift_y, tilt, size = (_wander(n_frames, frame_rate_hz, 1.2, rng) for _ in range(4))
        offset_x, offset_y, offset_size = rng.uniform(-18, 18), rng.uniform(-4, 8), rng.uniform(-0.06, 0.04)
        for at in range(n_frames):
            expression = talking(_sum(scaled(EXPRESSIONS[emotion], intensity[at]), self._calm), float(mouth[at]))
            expression = _sum(expression, Expression(eyes=-1.7 * blinks[at]))
            face = cv2.remap(warp(texture, expression), *shape, cv2.INTER_LINEAR)
            motion = cv2.getRotationMatrix2D((240.0, 300.0), 2.2 * tilt[at], 1 + offset_size + 0.012 * size[at])
            motion[:, 2] += (offset_x + 6 * shift_x[at], offset_y + 3 * shift_y[at])
            moved = cv2.warpAffine(
                face, motion, pt.FRAME_SIZE_PX, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            share = moved[..., 3].astype(np.float32) / 255
            frame = cv2.blendLinear(np.ascontiguousarray(moved[..., :3]), self._backdrop, share, 1 - share)
            yield cv2.flip(frame, 1) if self._mirrored else frame

    def _texture(self, smile: float) -> np.ndarray:
        """The portrait in the speaker's colours, uint8 RGBA [H, W, 4]; folds beside the mouth as far as it smiles."""
        if smile in self._textures:
            return self._textures[smile]
        parts, smile_share = pt.portrait(), min(smile, 1.0)
        rgb = parts.rgb * smile_share + parts.relaxed_rgb * (1 - smile_share)
        rgb = (rgb * (1 - self._brow_weight * parts.brows)[..., None]).clip(0, 255)
        skin = 255 * cv2.pow(rgb / 255, self._skin_gamma) * self._skin_gain
        gray = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
        hair = (gray / 125)[..., None] * self._hair_rgb
        hsv = cv2.cvtColor(rgb.astype(np.uint8), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + self._suit_hue) % 180
        suit = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        hair_share, suit_share = parts.hair[..., None], parts.suit[..., None]
        coloured = (skin * (1 - hair_share) + hair * hair_share) * (1 - suit_share) + suit * suit_share
        self._textures[smile] = np.dstack([coloured, parts.person * 255]).clip(0, 255).astype(np.uint8)
        return self._textures[smile]

    def _shape_map(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each texel of the reshaped head comes from; float32 x and y, each [H, W]."""
        parts = pt.portrait()
        x, y = parts.x.copy(), parts.y.copy()
        chin_x, chin_y = pt.CHIN
        cheeks = np.exp(-0.5 * (((x - chin_x) / 60) ** 2 + ((y - 140) / 40) ** 2))
        source_x = x - (x - chin_x) * (1 - 1 / self._head_width) * cheeks
        source_y = y - self._chin_px * np.exp(-0.5 * (((x - chin_x) / 45) ** 2 + ((y - chin_y) / 20) ** 2))
        source_y -= self._nose_px * np.exp(-0.5 * (((x - 223) / 20) ** 2 + ((y - 130) / 13) ** 2))
        for (eye_x, eye_y), outwards in zip(pt.EYES, (-1, 1), strict=True):
            bump = np.exp(-0.5 * (((x - eye_x) / 14) ** 2 + ((y - eye_y) / 12) ** 2))
            source_x -= outwards * self._eye_distance_px * bump
        return pt.texels(source_x, source_y)


def _sum(one: Expression, other: Expression) -> Expression:
    return Expression(**{name: value + getattr(other, name) for name, value in vars(one).items()})


def _wander(n_frames: int, frame_rate_hz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of standard deviation about 1 that changes over `seconds`; float [n_frames]."""
    width = seconds * frame_rate_hz / 2
    noise = gaussian_filter1d(rng.standard_normal(n_frames + int(8 * width)), width, mode="wrap")
    return np.clip(noise / noise.std(), -2, 2)[:n_frames]


def _blinks(n_frames: int, frame_rate_hz: float, rng: np.random.Generator) -> np.ndarray:
    """How far the lids are closed, 0..1, float [n_frames]: a fifth of a second every two to five."""
    closed = np.zeros(n_frames)
    at_s, frame_s = rng.uniform(0.5, 3), np.arange(n_frames) / frame_rate_hz
    while at_s < n_frames / frame_rate_hz:
        closed = np.maximum(closed, np.exp(-(((frame_s - at_s) / 0.06) ** 2)))
        at_s += rng.uniform(2, 5)
    return closed
