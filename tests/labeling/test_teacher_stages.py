"""The stages that label refuse what is not what the media stage made."""

import numpy as np
import pyarrow as pa
import pytest

from liser_ray.labeling.schema import CLIPS, bytes_column, labels_schema, set_columns
from liser_ray.labeling.speech_stage import SpeechStage
from liser_ray.labeling.video_stage import CLIP_SHAPE, VideoStage
from liser_ray.media.flac import encode_flac
from liser_ray.media.span import digest
from liser_ray.teachers.video import FERV39K_LABELS

SCHEMA = labels_schema(FERV39K_LABELS, {"fold_0": ("neutral", "happy", "sad", "angry")})


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
    return set_columns(table, {CLIPS.name: bytes_column(clips)})


def test_labels_are_those_of_their_own_clip_in_any_order(spans, teachers):
    stage = VideoStage(teachers.video, "float32")
    forward = stage(spans).to_pylist()
    backward = stage(spans.take([1, 0])).to_pylist()[::-1]
    for row, again in zip(forward, backward, strict=True):
        np.testing.assert_allclose(row["video_probs"], again["video_probs"], atol=1e-6)
    assert not np.allclose(forward[0]["video_probs"][0], forward[1]["video_probs"][0], atol=1e-6)
    assert forward[1]["video_probs"][1] == [0.0] * 7
    assert CLIPS.name not in forward[0]


def test_clips_that_changed_on_their_way_are_not_labeled(spans, teachers):
    clips = [np.frombuffer(one.as_buffer(), np.uint8).copy() for one in spans[CLIPS.name]]
    changed = set_columns(spans, {CLIPS.name: bytes_column(clips[::-1])})
    for row in VideoStage(teachers.video, "float32")(changed).to_pylist():
        assert (row["status"], row["stage"], row["reason"]) == ("failed", "video_teacher", "hash_mismatch")


def test_sound_that_changed_on_its_way_is_not_labeled(spans, teachers):
    stage = SpeechStage([f"fold_0={teachers.speech[0]}"], "float32", 8)
    spans = spans.drop_columns([CLIPS.name])
    right = stage(spans).to_pylist()
    assert [np.shape(row["speech_probs"]["fold_0"]) for row in right] == [(2, 4), (2, 4)]
    assert right[0]["speech_start_s"] == [0.0, 0.5]
    changed = set_columns(spans, {"audio": spans["audio"].take([1, 0])})
    for row in stage(changed).to_pylist():
        assert (row["status"], row["stage"], row["reason"]) == ("failed", "speech_teacher", "hash_mismatch")
