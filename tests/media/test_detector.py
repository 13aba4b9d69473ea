import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from deepface.commons import weight_utils
from media_files import sampled
from skimage import data

from liser_ray.media.detector import FaceDetector, _face, check_detector
from liser_ray.media.yunet import FILE_NAME, find
from liser_ray.runtime.errors import UserError


def test_haar_needs_no_download_and_no_folder_for_one(monkeypatch, tmp_path):
    def refuse(*args: object) -> None:
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    check_detector("opencv")
    assert not [*tmp_path.iterdir()]


def test_an_unknown_detector_and_missing_or_damaged_weights_are_said_before_work_starts(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"no face detector 'yunett': choose one of .*opencv.*yunet"):
        check_detector("yunett")

    def unreachable(url: str) -> None:
        raise ConnectionError(f"can't reach {url}")

    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setattr(weight_utils, "ensure_source_is_reachable", unreachable)
    with pytest.raises(UserError, match="put the file there") as caught:
        check_detector("yunet")
    weights = tmp_path / ".deepface/weights/face_detection_yunet_2023mar.onnx"
    assert str(weights) in str(caught.value)
    weights.write_text("<html>Not Found</html>")
    with pytest.raises(UserError, match="'yunet' can't be used"):
        check_detector("yunet")


@pytest.mark.parametrize("zoom", [1, 3])
def test_boxes_are_in_pixels_of_the_full_size_sampled(zoom):
    """The astronaut's face lies at about (178, 64) to (270, 175) of 512x512."""
    picture = data.astronaut().repeat(zoom, axis=0).repeat(zoom, axis=1)
    detector = FaceDetector("opencv")
    assert detector(sampled(np.full((240, 320, 3), 90, np.uint8))) == ()
    face = detector(sampled(picture))[0]
    assert np.array(face.center) / zoom == pytest.approx([224, 118], abs=12)
    assert 80 <= face.width / zoom <= 120


def test_threads_with_a_detector_each_find_what_one_alone_finds():
    """A cascade keeps its picture in itself: of threads that shared one, most found faces of each other's pictures."""
    astronaut = data.astronaut()
    pictures = [np.roll(astronaut[: 300 + 25 * number], 7 * number, axis=1) for number in range(8)]
    alone = FaceDetector("opencv")
    own = threading.local()

    def find_with_own(picture):
        if not hasattr(own, "detector"):
            own.detector = FaceDetector("opencv")
        return own.detector(sampled(picture))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(find_with_own, pictures * 3)) == [alone(sampled(one)) for one in pictures] * 3


def test_yunet_finds_both_eyes(yunet_home, monkeypatch):
    monkeypatch.setenv("DEEPFACE_HOME", str(yunet_home))
    check_detector("yunet")
    (face,) = FaceDetector("yunet")(sampled(data.astronaut()))
    np.testing.assert_allclose(face.eyes, [(203, 103), (247, 104)], atol=5)


@pytest.mark.parametrize("size", [(512, 512), (500, 375), (333, 640)])
def test_yunet_finds_what_opencv_finds_with_it(yunet_home, monkeypatch, size):
    """Boxes and eyes to a hundredth of a pixel, in pictures whose sides are no multiples of 32 too."""
    width, height = size
    picture = np.full((height, width, 3), 90, np.uint8)
    face = cv2.resize(data.astronaut()[20:320, 100:360], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    picture[30 : 30 + len(face), 20 : 20 + face.shape[1]] = face
    picture[height - len(face) :, width - face.shape[1] :] = face[:, ::-1]
    path = yunet_home / ".deepface/weights" / FILE_NAME
    _, expected = cv2.FaceDetectorYN.create(str(path), "", size, 0.9).detect(picture[..., ::-1].copy())
    found = find(path, picture)
    assert len(found) == len(expected) == 2
    order = np.argsort(found[:, 0]), np.argsort(expected[:, 0])
    np.testing.assert_allclose(found[order[0]], expected[order[1], :8], atol=0.01)


def test_eyes_are_in_the_picture_s_order_whatever_the_detector_calls_them():
    assert _face(100, 100, 100, 130, (170, 150), (130, 152)).eyes == ((130, 152), (170, 150))
    assert _face(100, 100, 100, 130, (130, 152), (170, 150)).eyes == ((130, 152), (170, 150))


@pytest.mark.parametrize(
    ("left_eye", "right_eye"),
    [
        (None, (130, 150)),
        ((135, 150), (130, 150)),  # one eye twice, or a head in profile
        ((165, 225), (135, 225)),  # the corners of the mouth
        ((155, 190), (145, 110)),  # no head is tilted like this
    ],
)
def test_implausible_eyes_are_dropped_and_the_box_is_kept(left_eye, right_eye):
    face = _face(100, 100, 100, 130, left_eye, right_eye)
    assert face.eyes is None
    assert (face.x, face.y, face.width, face.height) == (100, 100, 100, 130)
