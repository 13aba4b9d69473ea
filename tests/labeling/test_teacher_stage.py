"""The stages of the teachers: labels belong to their clip, and one bad span costs no other."""

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.schema import CLIPS, bytes_column, labels_schema, set_columns
from liser_ray.labeling.teacher_stage import CLIP_SHAPE, SpeechStage, VideoStage, predict_spans
from liser_ray.media.flac import encode_flac
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.media.span import digest
from liser_ray.teachers.video import FERV39K_LABELS

SCHEMA = labels_schema(FERV39K_LABELS, {"fold_0": ("neutral", "happy", "sad", "angry")})

INPUTS = [np.full((2, 3), 1.0), np.full((0, 3), 2.0), np.full((4, 3), 3.0)]  # of three spans


@pytest.fixture(scope="module")
def settings(teachers):
    speech = [f"fold_0={teachers.speech[0]}"]
    return LabelConfig(video_teacher=teachers.video, speech_teachers=speech, speech_batch_size=8, precision="float32")


@pytest.fixture
def spans():
    """Two spans as the media stage makes them: two windows each, the second one of the second span invalid."""
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 255, (2, *CLIP_SHAPE), np.uint8) for _ in range(2)]
    pcm = [rng.integers(-999, 999, 16_000, np.int16) for _ in range(2)]
    rows = [
        {
            **{field.name: "" for field in SCHEMA if field.type == pa.string()},
            **{"span_id": str(i), "start_s": 0.0, "end_s": 1.0, "audio": encode_flac(pcm[i]), "speech_fraction": 1.0},
            **{"video_start_s": [0.0, 0.53], "speech_start_s": [], "video_probs": [], "video_valid": [1.0, 1.0 - i]},
            **{"speech_probs": {"fold_0": []}, "face_box": [], "other_faces": 0.0, CLIPS.name: b""},
            "content_hash": digest(pcm[i]) + digest(clips[i]),
        }
        for i in range(2)
    ]
    table = pa.Table.from_pylist(rows, SCHEMA.append(CLIPS))
    return set_columns(table, {CLIPS.name: pa.chunked_array([bytes_column(one) for one in clips])})


def test_labels_are_those_of_their_own_clip_in_any_order(spans, settings):
    work = []
    stage = VideoStage(replace(settings, video_teacher=replace(settings.video_teacher, batch_size=2)), work.append)
    forward = stage(spans).to_pylist()
    backward = stage(spans.take([1, 0])).to_pylist()[::-1]
    for row, again in zip(forward, backward, strict=True):
        np.testing.assert_allclose(row["video_probs"], again["video_probs"], atol=1e-6)
    assert not np.allclose(forward[0]["video_probs"][0], forward[1]["video_probs"][0], atol=1e-6)
    assert forward[1]["video_probs"][1] == [0.0] * 7
    assert CLIPS.name not in forward[0]
    assert [(one.spans, one.ended, one.windows, one.slots) for one in work] == [(2, 0, 3, 4)] * 2


def test_clips_and_sound_that_changed_on_their_way_are_not_labeled(spans, settings):
    right = SpeechStage(settings)(spans).to_pylist()
    assert [np.shape(row["speech_probs"]["fold_0"]) for row in right] == [(2, 4), (2, 4)]
    assert right[0]["speech_start_s"] == [0.0, 0.5]
    changed = set_columns(spans, {name: spans[name].take([1, 0]) for name in (CLIPS.name, "audio")})
    for stage, probs in ((SpeechStage(settings), {"fold_0": []}), (VideoStage(settings), [])):
        for row in stage(changed).to_pylist():
            assert (row["status"], row["stage"], row["reason"]) == ("failed", stage.stage, "hash_mismatch")
            assert row[stage.probs] == probs


def stacked(windows):
    return np.reshape(windows, (len(windows), 3))


def test_all_windows_go_in_one_call_and_come_back_to_their_spans():
    calls = []

    def predict(windows):
        calls.append(len(windows))
        return stacked(windows)[:, :2] * 10

    predictions = predict_spans(predict, INPUTS, Stage.VIDEO_TEACHER)
    assert calls == [6]
    assert [one.shape for one in predictions] == [(2, 2), (0, 2), (4, 2)]
    assert [one.max(initial=0) for one in predictions] == [10, 0, 30]
    assert predict_spans(predict, [], Stage.VIDEO_TEACHER) == []


def out_of_memory(windows):
    if (stacked(windows) == 3).any():
        raise RuntimeError("out of memory")
    return stacked(windows)


def not_finite(windows):
    return np.where(stacked(windows) == 3, np.nan, stacked(windows))


@pytest.mark.parametrize(
    ("predict", "detail"),
    [
        (out_of_memory, "RuntimeError: out of memory"),
        (not_finite, "FloatingPointError: numbers that are not finite"),
    ],
)
def test_a_span_that_a_teacher_can_not_take_costs_no_other(predict, detail):
    first, second, third = predict_spans(predict, INPUTS, Stage.SPEECH_TEACHER)
    assert first.shape == (2, 3)
    assert second.shape == (0, 3)
    assert third == Problem(Stage.SPEECH_TEACHER, Reason.TEACHER_ERROR, detail)


@pytest.mark.parametrize("lost", [True, False])
def test_a_worker_whose_gpu_is_lost_ends_and_does_not_fail_the_rest(monkeypatch, lost):
    def synchronize():
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def kill(pid, number):
        raise SystemExit(f"{number.name} to {pid}")

    def predict(windows):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(os, "kill", kill)
    if lost:
        with pytest.raises(SystemExit, match=f"SIGKILL to {os.getpid()}"):
            predict_spans(predict, INPUTS, Stage.VIDEO_TEACHER)
    else:
        found = predict_spans(predict, INPUTS, Stage.VIDEO_TEACHER)
        assert [one.reason for one in found] == [Reason.TEACHER_ERROR] * 3
