"""A decoded picture on the 30-Hz grid, upright and with square pixels."""

import math
from dataclasses import dataclass, field
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter

from liser_ray.media import hdr, yuv
from liser_ray.media.outcome import MediaError, Reason

_MAX_SCALERS = 64
_SCALABLE_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # FFmpeg's AVColorSpace: from RGB to YCbCr
_UNSPECIFIED_MATRIX = 2
_FULL_RANGE = 2
_AS_IT_IS = frozenset({"yuv420p", "yuvj420p"})

PART_STEP_PX = 32
"""Edges of a part of a picture are multiples of this in the stored picture: whole pixels of the colour planes, and of
the scaled picture at any scale that is a multiple of a 32nd."""

Box = tuple[float, float, float, float]
"""Left, top, right and lower edge, in pixels (pixel i covers [i, i + 1))."""


class Scalers:
    """FFmpeg's scalers by source and target size and format: setting one up costs more than a picture's conversion.

    Attributes:
        note: what was done with the colours, if that is unusual; else "".
    """

    def __init__(self) -> None:
        self.note = ""
        self._scalers: dict[tuple[int, int, int, int, str], VideoReformatter] = {}

    def convert(self, picture: av.VideoFrame, width: int, height: int, pixel_format: str) -> np.ndarray:
        """The picture in another size and format; uint8 [height, width] for gray, [height, width, 3] for rgb24.

        Raises:
            MediaError: CORRUPT: FFmpeg can't convert such pictures.
        """
        try:
            if not hdr.is_hdr(picture):
                return self._convert(picture, width, height, pixel_format)
            self.note = f"pictures converted from HDR ({hdr.name(picture)})"
            return hdr.to_sdr(self._convert(picture, width, height, "rgb48le"), picture, pixel_format)
        except MemoryError:
            raise
        except Exception as error:
            raise MediaError(
                Reason.CORRUPT, f"pictures in {picture.format.name} can't be converted: {error}"
            ) from error

    @staticmethod
    def takes(picture: av.VideoFrame) -> bool:
        """Whether a picture's planes can be used as they are: 8 bits of YUV 4:2:0 and no HDR, as nearly all are."""
        return picture.format.name in _AS_IT_IS and not hdr.is_hdr(picture)

    def planes(self, picture: av.VideoFrame, width: int, height: int) -> tuple[yuv.Planes, int]:
        """The picture in another size, and the number of its colours; as it is, where that is its size and format.

        Raises:
            MediaError: as `convert`.
        """
        if not self.takes(picture):
            return yuv.planes_of_rgb(self.convert(picture, width, height, "rgb24")), yuv.OF_RGB
        colours = yuv.colours_number(picture.colorspace, is_full_range(picture))
        if (picture.width, picture.height) != (width, height):
            picture = self._reformat(picture, width, height, picture.format.name)
        y, u, v = map(_samples, picture.planes)
        return (y, u, v), colours

    def _convert(self, picture: av.VideoFrame, width: int, height: int, pixel_format: str) -> np.ndarray:
        own = picture.format.name
        if pixel_format != "gray" and own.startswith("yuv") and (picture.width, picture.height) != (width, height):
            # FFmpeg scales in a picture's own format and converts the result in a third of the time of both at once.
            picture = self._reformat(picture, width, height, own)
        return self._reformat(picture, width, height, pixel_format).to_ndarray()

    def _reformat(self, picture: av.VideoFrame, width: int, height: int, pixel_format: str) -> av.VideoFrame:
        if picture.colorspace not in _SCALABLE_MATRICES:
            # FFmpeg's scalers refuse YCgCo, ICtCp and the like. As YCbCr, their colours are a little off; brightness is
            # right, and faces are found.
            picture.colorspace = _UNSPECIFIED_MATRIX
        if len(self._scalers) >= _MAX_SCALERS:  # a face that runs about, in parts of many sizes
            self._scalers.clear()
        sizes = (picture.width, picture.height, width, height, pixel_format)
        scaler = self._scalers.setdefault(sizes, VideoReformatter())
        # One thread: a machine runs one decoding process per core. Brightness is the mean, for a third of the time.
        kind = Interpolation.AREA if pixel_format == "gray" else Interpolation.BICUBIC
        return scaler.reformat(picture, width, height, pixel_format, interpolation=kind, threads=1)


@dataclass(frozen=True)
class Part:
    """A part of a stored picture, scaled."""

    planes: yuv.Planes
    colours: int  # their number
    x: float  # of its upper left corner in the picture, in pixels
    y: float
    scale_x: float  # pixels of the part for one of the picture
    scale_y: float


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
        width, height = width or self.size[0], height or self.size[1]
        if self.rotation_deg in (90, 270):
            width, height = height, width
        return self._turned(self.scalers.convert(self.picture, width, height, "rgb24"))

    @property
    def upright(self) -> np.ndarray:
        """Where points of the stored picture go in the upright full-size frame, float64 [3, 3]."""
        width, height = self.picture.width * self.pixel_aspect, self.picture.height
        matrix = np.diag([self.pixel_aspect, 1.0, 1.0])
        for _ in range(self.rotation_deg // 90):  # counterclockwise
            matrix = np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1]]) @ matrix
            width, height = height, width
        return np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]]) @ matrix if self.mirrored else matrix

    def part(self, box: Box, scale: float) -> Part:
        """What lies in a box of the stored picture and a little around it, as far as the picture reaches.

        Where nothing is to be scaled or converted, that is all of it, as decoded. Else only that part is, which for a
        face costs a fraction of the whole picture.

        Args:
            box: what the part must hold where the picture does; parts have at least two pixels.
            scale: at most 1, a multiple of 1/32.
        """
        picture = self.picture
        if scale == 1 and self.pixel_aspect == 1 and Scalers.takes(picture):
            return Part(*self.scalers.planes(picture, picture.width, picture.height), 0, 0, 1, 1)
        x0, x1 = _stepped(box[0], box[2], picture.width)
        y0, y1 = _stepped(box[1], box[3], picture.height)
        cut = cut_out(picture, x0, y0, x1 - x0, y1 - y0)
        if cut is picture:
            x0, x1, y0, y1 = 0, picture.width, 0, picture.height
        # Even, so that colours are scaled as brightness is.
        width, height = (2 * max(1, round(n * scale / 2)) for n in ((x1 - x0) * self.pixel_aspect, y1 - y0))
        planes, colours = self.scalers.planes(cut, width, height)
        return Part(planes, colours, x0, y0, width / (x1 - x0), height / (y1 - y0))

    def gray(self, width: int, height: int) -> np.ndarray:
        """The upright picture's brightness, 0 (black) to 255 (white); uint8 [height, width].

        Each value is a mean over about eight rows of the picture, evenly drawn: more would only be more to read.
        """
        if self.rotation_deg in (90, 270):
            width, height = height, width
        picture = self.picture
        if not Scalers.takes(picture):
            return self._turned(self.scalers.convert(picture, width, height, "gray"))
        y = cv2.resize(_samples(picture.planes[0]), (8 * width, 8 * height), interpolation=cv2.INTER_LINEAR)
        gray = cv2.resize(y, (width, height), interpolation=cv2.INTER_AREA)
        if not is_full_range(picture):
            gray = ((gray.astype(np.float32) - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)
        return self._turned(gray)

    def _turned(self, image: np.ndarray) -> np.ndarray:
        if self.rotation_deg:
            image = np.rot90(image, self.rotation_deg // 90)
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)


def cut_out(picture: av.VideoFrame, x: int, y: int, width: int, height: int) -> av.VideoFrame:
    """A rectangle of a picture in the same format; the picture itself where its planes are not simply one per colour.

    Its edges are multiples of `PART_STEP_PX`, or the picture's.
    """
    components = picture.format.components
    if not picture.format.is_planar or len(picture.planes) != len(components):
        return picture
    part = av.VideoFrame(width, height, picture.format.name)
    for mine, whole, component in zip(part.planes, picture.planes, components, strict=True):
        sample_bytes = -(-component.bits // 8)
        step_x, step_y = round(picture.width / whole.width), round(picture.height / whole.height)
        rows, row_bytes = slice(y // step_y, y // step_y + mine.height), mine.width * sample_bytes
        first = x // step_x * sample_bytes
        _rows(mine)[: mine.height, :row_bytes] = _rows(whole)[rows, first : first + row_bytes]
    _copy_colours(picture, part)
    return part


def _copy_colours(picture: av.VideoFrame, part: av.VideoFrame) -> None:
    """What the numbers mean."""
    for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(part, name, getattr(picture, name))


def _rows(plane: VideoPlane) -> np.ndarray:
    """A plane's memory, uint8 [rows, bytes], with what pads each row."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]


def _samples(plane: VideoPlane) -> np.ndarray:
    """A plane of 8 bits, uint8 [height, width]."""
    return _rows(plane)[: plane.height, : plane.width]


def is_full_range(picture: av.VideoFrame) -> bool:
    """Whether black is 0 and white 255, and not 16 and 235."""
    return picture.color_range == _FULL_RANGE or picture.format.name.startswith("yuvj")


def _stepped(start: float, stop: float, length: int) -> tuple[int, int]:
    """A range widened to multiples of `PART_STEP_PX`, within 0..length and never empty."""
    first = min(max(0, math.floor(start / PART_STEP_PX)), (length - 1) // PART_STEP_PX) * PART_STEP_PX
    last = max(first + PART_STEP_PX, math.ceil(stop / PART_STEP_PX) * PART_STEP_PX)
    return first, min(last, length)


def orientation(picture: av.VideoFrame) -> tuple[int, bool]:
    """Degrees counterclockwise (0, 90, 180, 270) and whether to mirror after that, from the display matrix.

    The matrix sends (x, y) to (a x + c y, b x + d y), y downwards (FFmpeg's ``libavutil/display.h``). Angles between
    are taken to the nearest quarter turn.
    """
    make: Any = SideDataContainer  # PyAV's stubs lack its argument
    try:
        # Not `picture.side_data`: the picture and that refer to each other, and pile up until Python looks for cycles.
        matrix = make(picture)[SideDataType.DISPLAYMATRIX]
    except KeyError:
        return 0, False
    except ValueError:  # there is data of a kind that PyAV does not know (EXIF): it tells only the angle
        return round(picture.rotation / 90) * 90 % 360, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # rows become columns
        flip_x, flip_y = c < 0, b < 0
        return (90 if flip_y else 270), flip_x == flip_y
    flip_x, flip_y = a < 0, d < 0
    return (180 if flip_y else 0), flip_x != flip_y
