import os
import time
from dataclasses import replace

import pytest
from media_files import moving_gradient, voice_like, write_video

from liser_ray.corpora import headers, probe
from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.probe import judge, probe_all
from liser_ray.corpora.recordings import Recording
from liser_ray.media import reader
from liser_ray.media.outcome import MediaError, Problem, Reason, Stage, Status
from liser_ray.media.reader import Header
from liser_ray.runtime.errors import UserError

GOOD = Header(
    duration_s=20.0, width=640, height=480, frame_rate_hz=30.0, has_audio=True, has_video=True, size_bytes=10**6
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "good.mp4", moving_gradient, duration_s=1.0, audio=voice_like)
    write_video(folder / "silent.mp4", moving_gradient, duration_s=0.5)
    write_video(folder / "sound.mp4", None, duration_s=0.5, audio=voice_like)
    write_video(folder / "live.mkv", moving_gradient, duration_s=1.5, audio=voice_like, container_options={"live": "1"})
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video at all\n" * 1000)
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:2000])
    return folder


def recordings_at(folder, *names):
    paths = [folder / name for name in names]
    return [Recording(str(path), path.stat().st_size if path.is_file() else 1, "v") for path in paths]


def reasons(probed):
    return [one.problem.reason if one.problem else None for one in probed]


@pytest.mark.parametrize(
    ("changes", "reason", "status"),
    [
        ({}, None, None),
        ({"has_video": False}, Reason.NO_VIDEO, Status.FILTERED),
        ({"has_audio": False}, Reason.NO_AUDIO, Status.FILTERED),
        ({"width": 4096, "height": 2304}, None, None),
        ({"width": 2160, "height": 3840}, None, None),
        ({"width": 8192, "height": 8192}, Reason.TOO_LARGE, Status.FAILED),
        ({"frame_rate_hz": 240.0}, None, None),
        ({"frame_rate_hz": 1000.0}, Reason.TOO_LARGE, Status.FAILED),
        ({"duration_s": 49 * 3600.0}, Reason.TOO_LARGE, Status.FAILED),
        ({"duration_s": None}, Reason.NO_DURATION, Status.FAILED),
        ({"duration_s": 0.0}, Reason.NO_DURATION, Status.FAILED),
        ({"frame_rate_hz": 0.0}, None, None),
    ],
)
def test_what_a_header_says_against_a_recording(changes, reason, status):
    problem = judge(replace(GOOD, **changes), PlanConfig())
    assert (problem and problem.reason, problem and problem.status) == (reason, status)
    assert problem is None or (problem.stage == Stage.PLAN and problem.detail)


def test_who_wants_sound_alone_does_not_mind_the_pictures():
    for changes in ({"has_video": False}, {"width": 8192, "height": 8192}, {"frame_rate_hz": 1000.0}):
        assert judge(replace(GOOD, **changes), PlanConfig(), needs_video=False) is None


def test_each_bad_recording_is_told_by_its_reason_and_the_order_stays(videos):
    names = ["text.mp4", "good.mp4", "empty.mp4", "silent.mp4", "gone.mp4", "sound.mp4", "cut.mp4", "live.mkv"] * 2
    recordings = recordings_at(videos, *names)
    denied = Recording("s3://bucket/x.mp4", 0, "", problem=Problem(Stage.PLAN, Reason.DENIED, "403"))
    probed = list(probe_all([denied, *recordings], PlanConfig(probe_workers=2)))
    assert [one.recording for one in probed] == [denied, *recordings]
    expected = [*("not_media", None, "empty", "no_audio", "missing", "no_video", "truncated", None)] * 2
    assert reasons(probed) == ["denied", *expected]
    assert probed[2].header.duration_s == pytest.approx(1.0, abs=0.05)
    assert probed[2].header.size_bytes == recordings[1].size_bytes


def test_a_length_that_the_header_lacks_is_searched_for_up_to_a_size(videos, monkeypatch):
    (found,) = read_headers([str(videos / "live.mkv")])
    assert found.duration_s == pytest.approx(1.5, abs=0.06)
    monkeypatch.setattr(reader, "MAX_SEARCH_BYTES", 1000)
    (found,) = read_headers([str(videos / "live.mkv")])
    assert judge(found, PlanConfig()).reason == Reason.NO_DURATION


def test_a_file_that_hangs_costs_bounded_time_and_only_itself(videos):
    os.mkfifo(videos / "hang.mp4")  # to open it for reading waits for a writer, forever
    recordings = recordings_at(videos, "good.mp4", "hang.mp4", "silent.mp4")
    started = time.monotonic()
    probed = list(probe_all(recordings, PlanConfig(probe_timeout_s=5, probe_workers=1)))
    assert reasons(probed) == [None, Reason.TIMEOUT, Reason.NO_AUDIO]
    assert time.monotonic() - started < 30


def test_of_several_read_at_once_only_the_one_that_kills_the_child_fails(videos, s3_store, monkeypatch):
    monkeypatch.setattr(probe, "read_headers", die_of_cut)
    bucket = s3_store.bucket()
    names = ["a b/ü.mp4", "empty.mp4", "cut.mp4", "silent.mp4", "gone.mp4"]
    for name in names[:-1]:
        s3_store.client.upload_file(str(videos / name.replace("a b/ü", "good")), bucket, name)
    recordings = [Recording(f"s3://{bucket}/{name}", 1, "v") for name in names]
    probed = list(probe_all(recordings, PlanConfig(probe_workers=1)))
    assert reasons(probed) == [None, Reason.EMPTY, Reason.CRASH, Reason.NO_AUDIO, Reason.MISSING]
    assert probed[0].header.duration_s == pytest.approx(1.0, abs=0.05)


def die_of_cut(uris, *_):
    if any(uri.endswith("cut.mp4") for uri in uris):
        os._exit(11)
    return read_headers(uris)


def test_an_error_that_nobody_thought_of_is_a_value_too(videos, monkeypatch):
    def broken(uri, **_):
        raise ValueError("surprise")

    monkeypatch.setattr(headers, "Reader", broken)
    (outcome,) = read_headers([str(videos / "good.mp4")])
    assert isinstance(outcome, MediaError)
    assert "surprise" in outcome.detail


def test_another_system_than_linux_is_refused_in_words(videos, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(UserError, match="on a Mac in a container"):
        list(probe_all(recordings_at(videos, "good.mp4"), PlanConfig()))


@pytest.mark.parametrize(
    ("name", "value"), [("span_seconds", 16 / 30), ("max_pixels", 0), ("probe_timeout_s", -1), ("probe_workers", -1)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        PlanConfig(**{name: value})
