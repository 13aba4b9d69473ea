"""Expressions: how the parts of the portrait move, as smooth displacements plus a mouth that opens.

The lips follow two curves, one for each inner edge; the displacement that takes the photograph's curves to them fades
out into cheeks and chin. What shows between the lips is painted: teeth from the photograph, and dark behind them.
Brows and eyes move by Gaussian bumps. All lengths are pixels of the photograph.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from liser_ray.demo import portrait as pt

_ROI_X, _ROI_Y = (166, 282), (66, 232)  # beyond it every displacement is below a tenth of a pixel
_MOUTH_DARK_RGB = np.array([58, 20, 22], np.float32)
_LIP_LINE_RGB = np.array([118, 58, 54], np.float32)
_TONGUE_RGB = np.array([150, 72, 72], np.float32)


@dataclass(frozen=True)
class Expression:
    """A face at one moment; all zero is the calm face."""

    smile: float = 0.0  # 1: corners as high as photographed; below 0: drawn down
    open_px: float = 0.0  # gap between the lips
    brow_inner_px: float = 0.0  # upwards
    brow_outer_px: float = 0.0  # upwards
    brow_pinch_px: float = 0.0  # towards each other
    eyes: float = 0.0  # above 0 wider, below 0 narrower; -1.7 is a blink
    narrow: float = 0.0  # share by which the mouth is less wide


EXPRESSIONS = {
    "neutral": Expression(),
    "happy": Expression(smile=1.15, open_px=4.5, brow_outer_px=1.0, eyes=-0.2),
    "sad": Expression(smile=-1.0, brow_inner_px=7.5, brow_outer_px=-3.0, brow_pinch_px=1.5, eyes=-0.45),
    "angry": Expression(
        smile=-0.5, open_px=1.0, brow_inner_px=-7.5, brow_outer_px=2.0, brow_pinch_px=4.0, eyes=-0.35, narrow=0.08
    ),
    "surprised": Expression(open_px=11.0, brow_inner_px=5.5, brow_outer_px=5.5, eyes=0.05, narrow=0.16),
}


def scaled(expression: Expression, intensity: float) -> Expression:
    """The same expression, weaker or stronger: 0 is the calm face."""
    return Expression(**{name: value * intensity for name, value in vars(expression).items()})


def talking(expression: Expression, mouth: float) -> Expression:
    """With the mouth as far open as speech has it, 0..1."""
    gap_px = expression.open_px * (0.45 + 0.55 * mouth) + 7.0 * mouth
    return replace(expression, open_px=gap_px, narrow=expression.narrow + 0.10 * mouth)


class FaceWarper:
    """Moves the face inside a texture of the portrait; keeps its coordinate grids between frames."""

    def __init__(self) -> None:
        grid = pt.portrait()
        columns = [int(np.searchsorted(grid.x[0], at)) for at in _ROI_X]
        rows = [int(np.searchsorted(grid.y[:, 0], at)) for at in _ROI_Y]
        self._roi = (slice(*rows), slice(*columns))
        self._x, self._y = grid.x[self._roi], grid.y[self._roi]
        self._brow_bumps = [
            [np.exp(-0.5 * (((self._x - x) / 8) ** 2 + ((self._y - y) / 6) ** 2)) for x, y in brow] for brow in pt.BROWS
        ]
        self._eye_bumps = [
            (self._y - y) * np.exp(-0.5 * (((self._x - x) / 10) ** 2 + ((self._y - y) / 5) ** 2)) for x, y in pt.EYES
        ]
        frown_lines = [np.exp(-0.5 * (((self._x - x) / 1.6) ** 2 + ((self._y - 95) / 4.5) ** 2)) for x in (219.5, 229)]
        self._frown = np.sum(frown_lines, axis=0)

    def __call__(self, texture: np.ndarray, expression: Expression) -> np.ndarray:
        """A copy of a uint8 texture [H, W, C >= 3] (at `portrait.SCALE`, RGB first) that wears the expression."""
        source_x, source_y, upper, lower, u = self._mouth(expression)
        for bumps, inwards in zip(self._brow_bumps, (1, -1), strict=True):
            outer, middle, inner = bumps
            brow_middle_px = 0.5 * (expression.brow_inner_px + expression.brow_outer_px)
            source_y += 0.55 * (
                expression.brow_outer_px * outer + brow_middle_px * middle + expression.brow_inner_px * inner
            )
            source_x -= inwards * expression.brow_pinch_px * inner
        for bump in self._eye_bumps:
            source_y -= expression.eyes * bump
        source = pt.texels(source_x, source_y)
        face = cv2.remap(texture, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rgb = self._paint_mouth(texture, face[..., :3].astype(np.float32), upper, lower, u)
        if expression.brow_pinch_px > 0:
            rgb *= 1 - (0.045 * expression.brow_pinch_px * self._frown)[..., None]
        face[..., :3] = np.clip(rgb, 0, 255)
        result = texture.copy()
        result[self._roi] = face
        return result

    def _mouth(self, e: Expression) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where each pixel comes from (x, y), both lip edges at its column, and its place u between the corners."""
        smile, sad = max(e.smile, 0.0), max(-e.smile, 0.0)
        half_width = (17.2 + 3.8 * smile) * (1 - e.narrow)
        u_free = (self._x - pt.MOUTH_X) / half_width
        u = np.clip(u_free, -1, 1)
        corner = 145.8 - 5.6 * smile + 4.8 * sad + 0.75 * u
        # The middle of the lips moves less than the corners: that bends the line.
        upper = corner + (146.0 - 2.0 * smile - 0.5 * sad - 0.18 * e.open_px - corner) * (1 - u**2)
        gap = max(e.open_px, 0.7)
        lower = upper + gap * (1 - np.abs(u) ** 2.2)

        aside = np.exp(-((np.maximum(np.abs(u_free) - 1, 0) * half_width / 12) ** 2))
        above = np.exp(-((np.maximum(upper - self._y, 0) / 14) ** 2))
        below = np.exp(-((np.maximum(self._y - lower, 0) / 27) ** 2))
        share_below = np.clip((self._y - upper) / np.maximum(lower - upper, 0.7), 0, 1)
        up, down = pt.upper_lip_y(u) - upper, pt.lower_lip_y(u) - lower
        source_y = self._y + aside * (up * above * (1 - share_below) + down * below * share_below)
        source_x = self._x + aside * np.minimum(above, below) * u * (pt.MOUTH_HALF_WIDTH - half_width)
        return source_x.astype(np.float32), source_y.astype(np.float32), upper, lower, u

    def _paint_mouth(
        self, texture: np.ndarray, rgb: np.ndarray, upper: np.ndarray, lower: np.ndarray, u: np.ndarray
    ) -> np.ndarray:
        """Teeth and darkness between the lips; a dark line where they meet."""
        inside = np.clip((self._y - upper) * pt.SCALE + 0.5, 0, 1) * np.clip((lower - self._y) * pt.SCALE + 0.5, 0, 1)
        inside *= np.abs(u) < 1
        rows = slice(*np.flatnonzero(inside.any(axis=1))[[0, -1]] + [0, 1])
        y, u, upper, lower, inside = (part[rows] for part in (self._y, u, upper, lower, inside))

        teeth_y = pt.upper_lip_y(u) + (y - upper) + 0.8
        teeth_x = pt.MOUTH_X + u * pt.MOUTH_HALF_WIDTH
        teeth = cv2.remap(texture[..., :3], *pt.texels(teeth_x, teeth_y), cv2.INTER_LINEAR).astype(np.float32)
        gap = lower - upper
        is_teeth = np.clip((pt.lower_lip_y(u) - 1.3 - teeth_y) * 1.2, 0, 1) * np.clip((gap - 1.2) / 1.5, 0, 1)
        depth = np.clip((y - upper) / np.maximum(gap, 1), 0, 1)
        tongue = (np.clip((gap - 6) / 6, 0, 1) * np.clip((depth - 0.6) / 0.4, 0, 1) * 0.8)[..., None]
        dark = _LIP_LINE_RGB + (_MOUTH_DARK_RGB - _LIP_LINE_RGB) * np.clip((gap - 0.8) / 2, 0, 1)[..., None]
        behind = dark * (1 - tongue) + _TONGUE_RGB * tongue
        paint = teeth * is_teeth[..., None] + behind * (1 - is_teeth[..., None])
        opacity = (inside * np.clip(0.55 + gap * 0.3, 0, 1))[..., None]
        rgb[rows] = rgb[rows] * (1 - opacity) + paint * opacity
        return rgb
