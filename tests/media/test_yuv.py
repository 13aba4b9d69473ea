"""Packed pictures and their colours, beside the exact figures in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from liser_ray.media import yuv
from liser_ray.teachers.batches import as_rgb, converted

MATRICES = (1, 4, 5, 6, 7, 9)
COLOURS = [yuv.colours_number(matrix, full) for matrix in MATRICES for full in (False, True)]


def packed_of(y: np.ndarray, u: np.ndarray, v: np.ndarray, colours: int) -> np.ndarray:
    picture = np.full((yuv.PACKED_ROWS, yuv.CROP_PX), colours, np.uint8)
    for to, plane in zip(yuv.planes(picture), (y, u, v), strict=True):
        to[:] = plane
    return picture


def exactly(picture: np.ndarray) -> np.ndarray:
    """RGB as the standard has it, colours laid linearly between their samples; float64 [224, 224, 3]."""
    y, *halves = (plane.astype(np.float64) for plane in yuv.planes(picture))
    at = (np.arange(224) - 0.5) / 2
    low = np.floor(at).astype(int)
    share = at - low
    first, second = low.clip(0), (low + 1).clip(max=111)
    for axis in (0, 1):
        weight = share[:, None] if axis == 0 else share
        halves = [one.take(first, axis) * (1 - weight) + one.take(second, axis) * weight for one in halves]
    linear = yuv.TO_RGB[picture[-1, 0]].astype(np.float64)
    return np.clip(np.stack([y, *halves], -1) @ linear[:, :3].T + linear[:, 3], 0, 255)


@given(colours=st.sampled_from(COLOURS), seed=st.integers(0, 1000), cells=st.sampled_from((1, 4, 16, 112)))
@settings(max_examples=40)
def test_teachers_are_given_the_exact_colours(colours, seed, cells):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.repeat(rng.integers(0, 256, (cells, cells)), 224 // cells, 0), 224 // cells, 1)
    u, v = (
        np.repeat(np.repeat(rng.integers(0, 256, (cells, cells)), 112 // cells, 0), 112 // cells, 1) for _ in range(2)
    )
    picture = packed_of(y, u, v, colours)
    expected = exactly(picture)
    # OpenCV rounds colours (by 0.5, which B has 2.1 times) before it lays them on Y, and the result.
    for found, most in ((yuv.rgb(picture), 2), (converted(torch.from_numpy(picture[None]))[0].numpy(), 0.51)):
        assert np.abs(found - expected).max() <= most


@pytest.mark.parametrize("colours", COLOURS)
def test_black_and_white_are_black_and_white(colours):
    low, high = (0, 255) if colours % 2 else (16, 235)
    for level, value in ((low, 0), (high, 255)):
        assert (yuv.rgb(packed_of(np.uint8(level), np.uint8(128), np.uint8(128), colours)) == value).all()


def test_no_picture_is_black():
    nothing = np.zeros((1, 2, yuv.PACKED_ROWS, yuv.CROP_PX), np.uint8)
    assert not yuv.rgb(nothing[0, 0]).any()
    assert not as_rgb(torch.from_numpy(nothing)).any()
    assert not converted(torch.from_numpy(nothing[0])).any()


def test_unknown_matrices_are_taken_for_bt_601():
    assert {yuv.colours_number(matrix, False) for matrix in (0, 2, 3, 8, 10, 17)} == {yuv.colours_number(5, False)}


@given(
    hnp.arrays(np.uint8, (3,)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_planes_of_rgb_have_its_colours_at_any_size(colour, size):
    y, u, v = yuv.planes_of_rgb(np.broadcast_to(colour, (*size, 3)).copy())
    assert y.shape == size
    assert u.shape == v.shape == tuple(-(-side // 2) for side in size)
    picture = packed_of(y[0, 0], u[-1, -1], v[-1, -1], yuv.OF_RGB)
    assert np.abs(yuv.rgb(picture).astype(int) - colour).max() <= 3
    assert (np.ptp(y), np.ptp(u), np.ptp(v)) == (0, 0, 0)


def test_clips_that_are_rgb_already_stay_as_they_are():
    clips = torch.zeros(2, 3, 32, 32, 3, dtype=torch.uint8)
    assert as_rgb(clips) is clips
