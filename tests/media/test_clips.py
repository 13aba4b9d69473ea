import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from media_files import sampled

from liser_ray.media.clips import (
    CROP_PX,
    NO_SHOT,
    WINDOW_CELLS,
    crop_face,
    crop_matrix,
    crop_side_px,
    picture_scale,
    window_boxes,
    window_valid,
    windows,
)
from liser_ray.media.detector import Face
from liser_ray.media.frame import SampledFrame
from liser_ray.media.yuv import PACKED_ROWS, rgb

MARGIN = 0.25


def turned_face(angle_deg: float, center: tuple[float, float] = (320.0, 180.0), width: float = 90.0) -> Face:
    """A box with eyes on a line at this angle (clockwise in the picture)."""
    turn = np.exp(1j * np.radians(angle_deg))
    eyes = [complex(*center) + turn * complex(x, -0.2) * width for x in (-0.2, 0.2)]
    return Face(
        center[0] - width / 2,
        center[1] - 0.65 * width,
        width,
        1.3 * width,
        ((eyes[0].real, eyes[0].imag), (eyes[1].real, eyes[1].imag)),
    )


@given(st.floats(-60, 60), st.floats(50, 600), st.floats(50, 300), st.floats(20, 300), st.floats(0, 1))
def test_the_crop_is_level_square_and_centred(angle_deg, x, y, width, margin):
    face = turned_face(angle_deg, (x, y), width)
    matrix = crop_matrix(face, margin)
    assert face.eyes is not None
    left, right = (matrix @ [*eye, 1] for eye in face.eyes)
    assert left[1] == pytest.approx(right[1], abs=1e-6)
    assert left[0] < right[0]
    assert matrix @ [*face.center, 1] == pytest.approx([CROP_PX / 2, CROP_PX / 2])
    # No shear, no stretch, no mirror: a turn times one scale.
    scale = CROP_PX / crop_side_px(face, margin)
    assert matrix[:, :2] @ matrix[:, :2].T == pytest.approx(scale**2 * np.eye(2), abs=1e-9)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("angle_deg", [-30, 0, 12, 45])
@pytest.mark.parametrize(("zoom", "offset"), [(1, 0.0), (3, 0.0), (1, -250.0)])
def test_the_eyes_land_where_the_matrix_says(angle_deg, zoom, offset):
    """Small white discs as eyes, in frames of 640x360 and 1920x1080, and on a face that is partly outside."""
    face = turned_face(angle_deg, (zoom * (320 + offset), zoom * 180), zoom * 90)
    y, x = np.mgrid[0 : zoom * 360, 0 : zoom * 640] + 0.5
    picture = np.full((zoom * 360, zoom * 640, 3), 40, np.uint8)
    assert face.eyes is not None
    for eye_x, eye_y in face.eyes:
        picture[np.hypot(x - eye_x, y - eye_y) < zoom * 4] = 255
    packed = crop_face(sampled(picture), face, MARGIN)
    assert packed.shape == (PACKED_ROWS, CROP_PX)
    assert packed.dtype == np.uint8
    crop = rgb(packed)
    matrix = crop_matrix(face, MARGIN)
    bright = np.clip(crop[..., 0].astype(float) - 60, 0, None)
    rows, columns = np.mgrid[0:CROP_PX, 0:CROP_PX] + 0.5
    halves = [np.s_[:, : CROP_PX // 2], np.s_[:, CROP_PX // 2 :]]
    for half, eye in zip(halves, face.eyes, strict=True):
        weight = bright[half]
        found = (columns[half] * weight).sum() / weight.sum(), (rows[half] * weight).sum() / weight.sum()
        assert found == pytest.approx(matrix @ [*eye, 1], abs=0.6)


@pytest.mark.parametrize("side_px", [150, 500, 800, 1200])
def test_shrinking_does_not_alias(side_px):
    """A fine checkerboard must come out as even grey, not as a coarse pattern."""
    y, x = np.mgrid[0:1200, 0:1200]
    picture = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=-1)
    face = Face(600 - side_px / 2, 600 - side_px / 2, side_px, side_px)
    crop = rgb(crop_face(sampled(picture), face, margin=0.0)).astype(float)
    if side_px > 2 * CROP_PX:
        assert crop.std() < 12
    assert crop.mean() == pytest.approx(127, abs=6)


@given(
    full_range=st.booleans(),
    matrix=st.sampled_from((1, 2, 5, 6, 9)),  # FFmpeg's AVColorSpace
    size=st.tuples(st.integers(40, 700), st.integers(40, 700)),
    pixel_format=st.sampled_from(("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "gray", "rgb24")),
    rotation_deg=st.sampled_from((0, 90, 180, 270)),
    mirrored=st.booleans(),
    pixel_aspect=st.sampled_from((1.0, 1.5, 0.8)),
    place=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.2, 0.9), st.floats(-40, 40)),
)
@settings(max_examples=60)
def test_a_crop_has_the_colours_of_the_upright_frame(
    size, pixel_format, rotation_deg, mirrored, pixel_aspect, place, matrix, full_range
):
    """Whatever its format, range, matrix, odd sides and turn, cut out of what FFmpeg makes of the whole of it."""
    x, y = np.meshgrid(np.linspace(0, 3, size[0]), np.linspace(0, 2, size[1]))
    waves = (127 + 60 * np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y / 2)], axis=-1)).astype(np.uint8)
    picture = av.VideoFrame.from_ndarray(waves, "rgb24").reformat(format=pixel_format)
    if pixel_format not in ("rgb24", "gray"):
        picture.colorspace, picture.color_range = matrix, 1 + full_range
    frame = SampledFrame(0, 1, picture, rotation_deg, mirrored, pixel_aspect)
    width, height = frame.size
    face = turned_face(place[3], (place[0] * width, place[1] * height), place[2] * min(width, height) / 1.3)
    cut = crop_matrix(face, MARGIN)
    cut[:, 2] += cut[:, :2] @ [0.5, 0.5] - 0.5
    expected = cv2.warpAffine(
        frame.rgb(), cut, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    difference = np.abs(rgb(crop_face(frame, face, MARGIN)).astype(int) - expected)
    assert difference.mean() < 3.5  # FFmpeg rounds down, by up to 2
    assert np.quantile(difference, 0.99) < 12


@given(st.floats(10, 3000))
def test_the_picture_is_no_smaller_than_the_crop_needs_and_not_much_larger(side_px):
    scale = picture_scale(side_px)
    assert scale == 1 or scale * side_px >= CROP_PX
    assert scale * side_px <= 1.51 * CROP_PX


def test_outside_the_frame_the_edge_goes_on():
    picture = np.full((200, 200, 3), (10, 120, 200), np.uint8)
    crop = rgb(crop_face(sampled(picture), Face(-60, -60, 100, 120), MARGIN))
    assert np.abs(crop.astype(int) - [10, 120, 200]).max() <= 2


@given(st.integers(0, 600))
def test_windows_are_whole(n_cells):
    cut = windows(np.arange(n_cells))
    assert cut.shape == (n_cells // WINDOW_CELLS, WINDOW_CELLS)
    assert (cut.ravel() == np.arange(cut.size)).all()


@given(
    st.integers(1, 100).flatmap(
        lambda n: st.tuples(*[hnp.arrays(bool, n)] * 2, hnp.arrays(np.int64, n, elements=st.integers(-1, 2)))
    )
)
def test_valid_is_the_share_of_found_cells_or_nothing(arrays):
    found, others, shots = arrays
    valid = window_valid(found, shots, others)
    assert valid.dtype == np.float32
    for window, share in enumerate(valid):
        if windows(others)[window].any() or len(set(windows(shots)[window]) - {NO_SHOT}) > 1:
            assert share == 0
        else:
            assert share == pytest.approx(windows(found)[window].mean())


def test_boxes_are_means_over_the_found_cells():
    boxes = np.zeros((32, 4))
    found = np.zeros(32, bool)
    found[:4] = True
    boxes[:4] = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.3, 0.4]] * 2
    boxes[4:16] = 9.0
    assert window_boxes(boxes, found) == pytest.approx(np.array([[0.2, 0.2, 0.3, 0.4], [0, 0, 0, 0]]))
