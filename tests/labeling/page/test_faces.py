"""The contact sheet shows the face of the span, in the middle one of the windows that have one."""

import base64

import cv2
import numpy as np
import pytest
from media_files import write_video
from small_jobs import row, table_of

from liser_ray.labeling.page.faces import FACE_PX, contact_sheet

SIZE = (320, 240)
BOX = [160 / 320, 60 / 240, 80 / 320, 80 / 240]
WINDOW_S = 16 / 30
COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0)]  # of the face in each window, RGB
NO_FACE = (0.0, 0.0, 0.0)


def picture_at(time_s):
    """A white frame with a square that changes its colour with the window."""
    image = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    image[60:140, 160:240] = COLOURS[min(2, int(time_s / WINDOW_S))]
    return image


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "face.mp4", picture_at, 30, duration_s=3 * WINDOW_S)


def sheet(video, softmaxes, uri=None):
    values = {"uri": uri or str(video), "end_s": 1.6, "face_box": [BOX if any(one) else [0.0] * 4 for one in softmaxes]}
    return contact_sheet(table_of([row(1, softmaxes, **values)]))


def test_the_crop_is_the_face_of_the_middle_window_with_one(video):
    (face,) = sheet(video, [(1, 0, 0), (1, 0, 0), NO_FACE])
    assert face.time_s == pytest.approx(1.5 * WINDOW_S)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(face.jpeg), np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)
    assert picture.shape == (FACE_PX, FACE_PX, 3)
    centre = picture[20:-20, 20:-20].mean(axis=(0, 1))
    np.testing.assert_allclose(centre, COLOURS[1], atol=40)
    border = np.concatenate([picture[:6].reshape(-1, 3), picture[:, :6].reshape(-1, 3)])
    np.testing.assert_allclose(border.mean(axis=0), (255, 255, 255), atol=40)  # a tenth of the square is around it


def test_a_video_that_is_gone_leaves_its_place_empty_and_says_why(video):
    (face,) = sheet(video, [(1, 0, 0)], uri="/nowhere/face.mp4")
    assert face.jpeg == ""
    assert face.problem.startswith("missing")
