import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.media.frame import PART_STEP_PX, SampledFrame

FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "rgb24", "gray")
WHOLE = ("nv12", "rgb24", "gray")  # not planes of one colour each: the part is the whole picture


def waves(width: int, height: int) -> np.ndarray:
    """RGB, smooth, and another colour everywhere."""
    x, y = np.meshgrid(np.linspace(0, 5, width), np.linspace(0, 4, height))
    return (127 + 100 * np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y / 2)], axis=-1)).astype(np.uint8)


def sampled(width: int, height: int, pixel_format: str = "yuv420p", **how) -> SampledFrame:
    picture = av.VideoFrame.from_ndarray(waves(width, height), "rgb24")
    picture = picture if pixel_format == "rgb24" else picture.reformat(format=pixel_format)
    return SampledFrame(0, 1, picture, **how)


@given(
    scale=st.sampled_from((1.0, 0.75, 0.5, 0.375)),
    size=st.tuples(st.integers(2, 300), st.integers(2, 300)),
    pixel_format=st.sampled_from(FORMATS),
    pixel_aspect=st.sampled_from((1.0, 1.5, 0.8)),
    box=st.tuples(*[st.floats(-0.5, 1.5)] * 4),
)
def test_a_part_holds_its_box_as_far_as_the_picture_reaches(size, pixel_format, pixel_aspect, box, scale):
    frame = sampled(*size, pixel_format, pixel_aspect=pixel_aspect)
    (left, right), (top, bottom) = (sorted((box[i] * size[i], box[i + 2] * size[i])) for i in (0, 1))
    part = frame.part((left, top, right, bottom), scale)
    y, u, v = part.planes
    assert u.shape == v.shape == tuple(-(-side // 2) for side in y.shape)
    width, height = y.shape[1] / part.scale_x, y.shape[0] / part.scale_y
    assert part.x <= max(0, left)
    assert part.y <= max(0, top)
    assert part.x + width >= min(right, size[0]) - 1e-6
    assert part.y + height >= min(bottom, size[1]) - 1e-6
    if pixel_format not in WHOLE and scale < 1 and left >= 0 and right <= size[0]:
        assert width <= right - left + 2 * PART_STEP_PX


@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    pixel_aspect=st.sampled_from((1.0, 1.5, 0.8)),
    rotation_deg=st.sampled_from((0, 90, 180, 270)),
    mirrored=st.booleans(),
)
def test_the_upright_frame_is_the_stored_picture_turned(size, pixel_aspect, rotation_deg, mirrored):
    frame = sampled(*size, "rgb24", pixel_aspect=pixel_aspect, rotation_deg=rotation_deg, mirrored=mirrored)
    corners = np.array([[0, 0, 1], [size[0], 0, 1], [0, size[1], 1]]) @ frame.upright.T
    # Where the stored picture's corner is after NumPy has turned pixels marked by their places.
    marked = np.rot90(np.arange(4).reshape(2, 2), rotation_deg // 90)
    marked = marked[:, ::-1] if mirrored else marked
    width, height = (side * aspect for side, aspect in zip(size, (pixel_aspect, 1.0), strict=True))
    shown = (height, width) if rotation_deg in (90, 270) else (width, height)
    for corner, mark in zip(corners, range(3), strict=True):
        row, column = np.argwhere(marked == mark)[0]
        assert corner[:2] == pytest.approx([column * shown[0], row * shown[1]])


@pytest.mark.parametrize("matrix", range(18))  # FFmpeg's AVColorSpace
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "nv12"])
def test_colours_of_every_kind_are_taken(matrix, pixel_format):
    looks = [
        lambda frame: frame.gray(32, 32),
        lambda frame: frame.rgb(),
        lambda frame: frame.rgb(320, 256),
        lambda frame: frame.part((100, 140, 300, 290), 0.5).planes[0],
    ]
    for look in looks:
        tagged, usual = sampled(640, 512, pixel_format), sampled(640, 512, pixel_format)
        tagged.picture.colorspace = matrix
        assert np.abs(look(tagged).astype(float) - look(usual)).mean() < 20


@pytest.mark.parametrize("pixel_format", [*FORMATS, "yuv420p10le"])
@pytest.mark.parametrize("rotation_deg", [0, 90])
def test_gray_is_the_mean_brightness_of_each_place(pixel_format, rotation_deg):
    frame = sampled(1280, 1920, pixel_format, rotation_deg=rotation_deg)
    gray = frame.gray(32, 32).astype(int)
    expected = np.rot90(waves(1280, 1920), rotation_deg // 90) @ [0.299, 0.587, 0.114]
    height, width = expected.shape
    expected = expected.reshape(32, height // 32, 32, width // 32).mean(axis=(1, 3))
    assert np.abs(gray - expected).max() < 4
