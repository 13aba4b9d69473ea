import numpy as np
import pytest
import torch

from liser_ray.demo.corpus import CorpusSize, Take, make_corpus
from liser_ray.demo.emotions import SPEECH_LABELS, VIDEO_LABELS
from liser_ray.demo.speech_fit import fit_speech_teacher
from liser_ray.demo.teachers import FitSize, fit_teachers, recall
from liser_ray.demo.video_fit import with_frames
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer
from liser_ray.teachers.speech import load_speech_teachers
from liser_ray.teachers.video import VideoTeacherConfig, load_video_teacher
from liser_ray.teachers.weights import sha256


@pytest.mark.slow
def test_fitted_files_load_as_teachers_with_labels(tmp_path):
    takes = (Take("one", 0, "happy", 1.2, 25),)
    make_corpus(tmp_path / "corpus", size=CorpusSize(takes, useless=False, audio_speakers=1, audio_takes=1))
    size = FitSize(speech_speakers=1, speech_epochs=1, video_speakers=1, video_epochs=1)
    made = fit_teachers(tmp_path / "corpus", tmp_path / "teachers", size=size)

    speech = load_speech_teachers([f"demo={made.speech}"])
    assert speech.teachers[0].labels == SPEECH_LABELS
    video = load_video_teacher(
        VideoTeacherConfig(weights=str(made.video_weights), landmark_weights=str(made.landmark_weights))
    )
    assert video.labels == VIDEO_LABELS
    assert video(np.zeros((1, 16, 224, 224, 3), np.uint8)).sum() == pytest.approx(1, abs=1e-5)

    written = made.video_weights.stat().st_mtime_ns
    assert fit_teachers(tmp_path / "corpus", tmp_path / "teachers", size=size) == made
    assert made.video_weights.stat().st_mtime_ns == written


def test_same_seed_same_weights(tmp_path):
    for name in ("one", "other"):
        fit_speech_teacher(tmp_path / name, seed=0, speakers=1, epochs=1)
    assert sha256(tmp_path / "one") == sha256(tmp_path / "other")


def test_a_repeated_picture_is_judged_as_it_is_alone():
    torch.manual_seed(0)
    one = VideoTransformer(S2DConfig(embed_dim=96, depth=1, heads=4, frames=1, num_classes=5)).eval()
    picture, guidance = torch.rand(1, 1, 3, 224, 224), torch.rand(1, 128, 14, 14)
    with torch.inference_mode():
        alone, _ = one(picture, guidance)
        repeated, _ = with_frames(one, 16)(picture.expand(-1, 16, -1, -1, -1), guidance.expand(16, -1, -1, -1))
    torch.testing.assert_close(repeated, alone, atol=1e-4, rtol=0)


def test_uar_is_the_mean_over_classes():
    assert recall([0, 0, 0, 1], [0, 0, 0, 0]) == pytest.approx(0.5)
