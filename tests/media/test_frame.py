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
    size=st.tuples(st.integers(2, 300), st.integers(2, 300)),
    pixel_format=st.sampled_from(FORMATS),
    rotation_deg=st.sampled_from((0, 90, 180, 270)),
    mirrored=st.booleans(),
    box=st.tuples(*[st.floats(-0.5, 1.5)] * 4),
)
def test_a_part_is_what_the_whole_frame_has_there(size, pixel_format, rotation_deg, mirrored, box):
    if pixel_format not in ("yuv444p", *WHOLE):
        size = (size[0] + size[0] % 2, size[1] + size[1] % 2)  # FFmpeg converts colours of odd sizes in another way
    frame = sampled(*size, pixel_format, rotation_deg=rotation_deg, mirrored=mirrored)
    width, height = frame.size
    left, right = sorted((box[0] * width, box[2] * width))
    top, bottom = sorted((box[1] * height, box[3] * height))
    part = frame.part((left, top, right, bottom), 1.0)
    x, y = round(part.x), round(part.y)
    np.testing.assert_array_equal(part.rgb, frame.rgb()[y : y + part.rgb.shape[0], x : x + part.rgb.shape[1]])
    assert (part.x, part.y, part.scale_x, part.scale_y) == (x, y, 1, 1)
    # All of the box that lies in the frame, and little more.
    assert x <= max(0, left)
    assert y <= max(0, top)
    assert x + part.rgb.shape[1] >= min(right, width)
    assert y + part.rgb.shape[0] >= min(bottom, height)
    if pixel_format not in WHOLE and left >= 0 and right <= width:
        assert part.rgb.shape[1] <= right - left + 2 * PART_STEP_PX


@pytest.mark.parametrize("pixel_aspect", [1.0, 1.5, 0.8])
@pytest.mark.parametrize("rotation_deg", [0, 90])
@pytest.mark.parametrize("scale", [0.75, 0.5, 0.375, 0.25])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv444p10le"])
def test_a_scaled_part_lies_where_it_says(pixel_aspect, rotation_deg, scale, pixel_format):
    """Its colours are those of the full-size frame at the places of its pixels."""
    frame = sampled(640, 512, pixel_format, pixel_aspect=pixel_aspect, rotation_deg=rotation_deg)
    part = frame.part((100, 140, 300, 290), scale)
    rows, columns = (np.arange(2, n - 2) for n in part.rgb.shape[:2])
    x = np.floor(part.x + (columns + 0.5) / part.scale_x).astype(int)
    y = np.floor(part.y + (rows + 0.5) / part.scale_y).astype(int)
    whole = frame.rgb()[np.ix_(y, x)].astype(int)
    assert np.abs(part.rgb[np.ix_(rows, columns)] - whole).max() <= 6
    assert part.scale_x == pytest.approx(scale, rel=0.02)
    assert part.scale_y == pytest.approx(scale, rel=0.02)


@pytest.mark.parametrize("matrix", range(18))  # FFmpeg's AVColorSpace
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "nv12"])
def test_colours_of_every_kind_are_taken(matrix, pixel_format):
    looks = [
        lambda frame: frame.gray(32, 32),
        lambda frame: frame.rgb(),
        lambda frame: frame.rgb(320, 256),
        lambda frame: frame.part((100, 140, 300, 290), 0.5).rgb,
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
