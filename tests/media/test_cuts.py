import numpy as np
import pytest
from hypothesis.extra import numpy as hnp
from skimage import data
from skimage.transform import resize

from liser_ray.media.cuts import CUT_DIFFERENCE, TINY_PX, difference, is_cut

TINY = hnp.arrays(np.uint8, (TINY_PX, TINY_PX))


def tiny(picture: np.ndarray) -> np.ndarray:
    gray = picture.mean(axis=-1) if picture.ndim == 3 else picture
    return resize(gray, (TINY_PX, TINY_PX), anti_aliasing=True, preserve_range=True).round().astype(np.uint8)


@pytest.mark.parametrize("shift_px", [4, 16, 40])
def test_motion_is_no_cut(shift_px):
    picture = data.astronaut()
    assert not is_cut(tiny(picture[:, 40:440]), tiny(picture[:, 40 + shift_px : 440 + shift_px]))


def test_a_little_more_light_is_no_cut():
    picture = tiny(data.astronaut())
    assert not is_cut(picture, (picture * 0.95).astype(np.uint8))


@pytest.mark.parametrize("other", ["camera", "coffee", "chelsea", "rocket"])
def test_another_scene_is_a_cut(other):
    assert difference(tiny(data.astronaut()), tiny(getattr(data, other)())) > 2 * CUT_DIFFERENCE
