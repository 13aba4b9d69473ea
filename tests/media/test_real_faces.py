"""YuNet on real videos: a few of each kind."""

from pathlib import Path

import numpy as np
import pytest

from liser_ray.media.detector import FaceDetector, check_detector
from liser_ray.media.faces import FaceConfig, SpanFaces, find_faces
from liser_ray.media.reader import Reader


@pytest.fixture
def yunet(yunet_home, monkeypatch) -> FaceDetector:
    monkeypatch.setenv("DEEPFACE_HOME", str(yunet_home))
    check_detector("yunet")
    return FaceDetector("yunet")


def look(path: Path, yunet: FaceDetector, end_s: float = 6.0) -> SpanFaces:
    with Reader(str(path)) as reader:
        span = reader.span(0.0, min(end_s, reader.header.duration_s or end_s))
        return find_faces(span, span.n_cells, FaceConfig(), yunet)


@pytest.mark.parametrize("name", ["grid_bbaf2n.mpg", "sadtalker_a.mp4", "edtalk_60s.mp4", "latentsync_1.mp4"])
def test_a_talking_head_is_there_all_the_time(test_data, yunet, name):
    result = look(test_data / "talking_heads" / name, yunet, end_s=3.0)
    assert np.median(result.clip_valid) >= 0.9
    assert result.other_faces == 0
    assert result.clips[result.clip_valid == 1].std(axis=(2, 3, 4)).min() > 10, "pictures, not empty cells"


@pytest.mark.parametrize("name", ["no_face.mp4", "silent_no_face.mp4"])
def test_nobody_is_there(test_data, yunet, name):
    result = look(test_data / "hard_videos" / name, yunet, end_s=3.0)
    assert not result.clip_valid.any()
    assert result.other_faces == 0


def test_the_face_is_followed_only_while_it_is_there(test_data, yunet):
    """It is there for the first 2.4 s; the rest is black, then a room."""
    valid = look(test_data / "hard_videos/face_then_none.mov", yunet).clip_valid
    assert valid[:4].tolist() == [1, 1, 1, 1]
    assert not valid[4:].any()


def test_windows_across_cuts_and_of_others_are_invalid(test_data, yunet):
    """Nothing yet, the stage from afar, a man in profile, the singer (3.6 s to 7.9 s), the audience."""
    result = look(test_data / "hard_videos/two_faces_cuts.mp4", yunet, end_s=10.1)
    assert result.clip_valid[7:14].tolist() == [1] * 7
    assert not result.clip_valid[:7].any()
    assert not result.clip_valid[14:].any()
    assert 0.1 < result.other_faces < 0.5
