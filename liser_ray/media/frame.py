"""A decoded picture on the 30-Hz grid, upright and with square pixels."""

from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import VideoReformatter


class Scalers:
    """FFmpeg's scalers by target size and format: setting one up costs more than a picture's conversion."""

    def __init__(self) -> None:
        self._scalers: dict[tuple[int, int, str], VideoReformatter] = {}

    def convert(self, picture: av.VideoFrame, width: int, height: int, pixel_format: str) -> np.ndarray:
        """The picture in another size and format; uint8 [height, width] for gray, [height, width, 3] for rgb24."""
        scaler = self._scalers.setdefault((width, height, pixel_format), VideoReformatter())
        # One thread: a machine runs one decoding process per core.
        return scaler.reformat(picture, width, height, pixel_format, threads=1).to_ndarray()


@dataclass(frozen=True)
class SampledFrame:
    """One source picture and the cells of the span's 30-Hz grid that show it.

    Cell ``k`` covers [start_s + k / 30, start_s + (k + 1) / 30). A 25-fps source repeats some pictures, a 60-fps source
    skips some.

    Attributes:
        first_cell: first cell, from the span's start.
        n_cells: how many cells in a row, >= 1.
        picture: as decoded.
        rotation_deg: 0, 90, 180 or 270: how far to turn it counterclockwise to have it upright.
        mirrored: whether to swap left and right after that (front cameras store this).
        pixel_aspect: width of a pixel over its height, before turning.
    """

    first_cell: int
    n_cells: int
    picture: av.VideoFrame
    rotation_deg: int = 0
    mirrored: bool = False
    pixel_aspect: float = 1.0
    scalers: Scalers = field(default_factory=Scalers, repr=False, compare=False)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height when upright and with square pixels; the height of the stored picture is kept."""
        width, height = max(1, round(self.picture.width * self.pixel_aspect)), self.picture.height
        return (height, width) if self.rotation_deg in (90, 270) else (width, height)

    def rgb(self, width: int | None = None, height: int | None = None) -> np.ndarray:
        """The upright picture, scaled while it is converted; uint8 [height, width, 3]. Default: `size`."""
        return self._upright(width or self.size[0], height or self.size[1], "rgb24")

    def gray(self, width: int, height: int) -> np.ndarray:
        """The upright picture's brightness, 0 (black) to 255 (white); uint8 [height, width]."""
        return self._upright(width, height, "gray")

    def _upright(self, width: int, height: int, pixel_format: str) -> np.ndarray:
        if self.rotation_deg in (90, 270):
            width, height = height, width
        image = self.scalers.convert(self.picture, width, height, pixel_format)
        if self.rotation_deg:
            image = np.rot90(image, self.rotation_deg // 90)
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)


def orientation(picture: av.VideoFrame) -> tuple[int, bool]:
    """Degrees counterclockwise (0, 90, 180, 270) and whether to mirror after that, from the display matrix.

    The matrix sends (x, y) to (a x + c y, b x + d y), y downwards (FFmpeg's ``libavutil/display.h``). Angles between
    are taken to the nearest quarter turn.
    """
    if picture.rotation == 0:
        return 0, False
    side_data: Any = picture.side_data  # PyAV's stubs know only one kind
    a, b, _, c, d = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # rows become columns
        flip_x, flip_y = c < 0, b < 0
        return (90 if flip_y else 270), flip_x == flip_y
    flip_x, flip_y = a < 0, d < 0
    return (180 if flip_y else 0), flip_x != flip_y
