import pytest
from media_files import moving_gradient, write_video
from talking_heads import write_talking_head

from liser_ray.calibration.media import SpanRun, measure_media, media_speed
from liser_ray.calibration.sample import SampledSpan
from liser_ray.media.faces import FaceConfig
from liser_ray.media.span import MediaConfig
from liser_ray.runtime.errors import UserError


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    """One with a face, one without, and one that is not there."""
    folder = tmp_path_factory.mktemp("videos")
    write_talking_head(folder / "face.mp4", 1.6)
    write_video(folder / "gradient.mp4", moving_gradient, 25, duration_s=1.6)
    return [SampledSpan(str(folder / f"{name}.mp4"), 0.0, 1.6) for name in ("face", "gradient", "missing")]


def test_spans_are_prepared_as_the_job_does_it_and_their_ends_counted(spans):
    kept = []
    runs = measure_media(spans, MediaConfig(faces=FaceConfig(detector="opencv")), 2, 60.0, keep=kept.append)
    assert [run.span for run in runs] == [0, 1, 2, 0, 1, 2]  # three for each worker
    assert len(kept) == 2
    face = runs[0]
    assert (face.reason, face.video_windows, face.clip_bytes) == ("", 3, kept[0].clips.nbytes)
    assert 50e6 < face.peak_bytes < 2e9
    speed = media_speed(runs[:3], runs, 2)
    assert speed.lost == {runs[1].reason: 1, "missing": 1}
    assert speed.spans == 3
    assert speed.usable_share == pytest.approx(1 / 3)


def test_when_the_time_is_over_each_worker_has_still_had_a_span(spans):
    runs = measure_media(spans, MediaConfig(faces=FaceConfig(detector="opencv")), 2, 0.0)
    assert [run.span for run in runs] == [0, 1]


def test_a_node_without_the_detectors_weights_is_one_clear_message(spans, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(UserError, match=r"'yunet' can't be used: .* put the file there"):
        measure_media(spans, MediaConfig(), 1, 0.0)


def run(span, seconds, reason="", **values):
    return SpanRun(span, 16.0, seconds, reason, **values)


def test_sums_by_hand():
    alone = [run(0, 2.0), run(1, 4.0, "no_face", peak_bytes=7)]
    together = [run(0, 3.0, video_windows=30, clip_bytes=100, sound_bytes=8), run(1, 6.0, "no_face"), run(2, 7.0)]
    speed = media_speed(alone, together, 2)
    assert speed.video_s_per_s == 3
    assert speed.slowdown == 1.5  # of the spans that were measured both ways
    assert speed.video_s_per_s_alone == 4.5
    assert (speed.span_s_p50, speed.peak_bytes, speed.spans, speed.runs) == (6.0, 7, 3, 3)
    assert speed.lost == {"no_face": 1}
    assert speed.usable_share == pytest.approx(2 / 3)
    assert (speed.span_s, speed.windows_per_span, speed.clip_bytes, speed.sound_bytes) == (16, 15, 50, 4)
