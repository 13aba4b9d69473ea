import numpy as np
from media_files import sampled

from liser_ray.demo.people import EMOTIONS, person
from liser_ray.media.detector import FaceDetector

CLOSED = np.zeros(2)


def drawn(emotion, mouth=CLOSED, speaker=0):
    return list(person(0, "videos", speaker).face.frames(emotion, mouth, 2.0, np.random.default_rng(5)))


def test_detector_finds_the_one_face_in_every_expression():
    detector = FaceDetector("opencv")
    for emotion in EMOTIONS:
        for frame in drawn(emotion):
            assert len(detector(sampled(frame))) == 1


def test_expressions_speech_and_speakers_differ():
    calm = drawn("neutral")[0].astype(int)
    for other in (drawn("happy"), drawn("neutral", mouth=np.ones(2)), drawn("neutral", speaker=1)):
        assert np.abs(other[0] - calm).max() > 40


def test_same_stream_same_frames():
    np.testing.assert_array_equal(drawn("sad"), drawn("sad"))
