"""The media stage on recordings that would take a process with them."""

import time

import numpy as np
import poison
import pyarrow as pa
import pytest
import soundfile
from labeling.tables import planned
from odd_files import Sound, write_tracks
from talking_heads import voice, write_talking_head

from liser_ray.corpora.schema import plan_schema
from liser_ray.corpora.segments import SEGMENT_COLUMNS
from liser_ray.labeling import media_stage
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.schema import CLIPS, ON_THE_WAY, labels_schema
from liser_ray.media.faces import FaceConfig
from liser_ray.media.flac import decode_flac
from liser_ray.media.span import MediaConfig, Needs
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.targets import Target

TARGET = Target("face", "distribution", ("a", "b"), 16 / 30, 16 / 30, "", "face")
SCHEMA = labels_schema([TARGET])


EVERYTHING = Needs()


def make_stage(config, roots=(), needs=EVERYTHING):
    return MediaStage(SCHEMA, lambda work: None, config, needs, roots)


@pytest.fixture
def stage(monkeypatch):
    monkeypatch.setattr(media_stage, "prepare_span", poison.prepare)
    return make_stage(MediaConfig(faces=FaceConfig("opencv"), timeout_s=60, memory_mb=700))


def test_poison_costs_its_own_row(stage, tmp_path):
    good = [str(write_talking_head(tmp_path / f"{name}.mp4", 1.6)) for name in ("first", "second")]
    tables = list(stage(planned(good[0], "segfault.mp4", "bomb.mp4", "bug.mp4", good[1])))
    rows = [row for table in tables for row in table.to_pylist()]
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("", ""),
        ("failed", "crash"),
        ("failed", "memory"),
        ("failed", "crash"),
        ("", ""),
    ]
    assert rows[0]["content_hash"] == rows[4]["content_hash"]
    assert "a bug" in rows[3]["detail"]
    assert all(table.schema == pa.schema([*SCHEMA, *ON_THE_WAY]) for table in tables)


def test_a_hang_costs_bounded_time(monkeypatch):
    monkeypatch.setattr(media_stage, "prepare_span", poison.prepare)
    stage = make_stage(MediaConfig(faces=FaceConfig("opencv"), timeout_s=2))
    started = time.monotonic()
    tables = list(stage(planned("hang.mp4", "hang.mp4")))
    assert time.monotonic() - started < 60
    assert [table["reason"][0].as_py() for table in tables] == ["timeout"] * 2


@pytest.mark.parametrize("detector", ["yunet", "ssd"])
def test_a_machine_without_the_detectors_weights_is_no_recordings_fault(detector, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens
    stage = make_stage(MediaConfig(faces=FaceConfig(detector)))
    good = str(write_talking_head(tmp_path / "good.mp4", 1.6))
    with pytest.raises(UserError, match=rf"'{detector}' can't be used: .* put the file there"):
        list(stage(planned(good)))


def test_what_ended_in_the_plan_passes_through(stage):
    (table,) = stage(planned("gone.mp4", status="failed", reason="missing"))
    (row,) = table.to_pylist()
    assert (row["status"], row["stage"], row["reason"]) == ("failed", "plan", "missing")
    assert (row["audio"], row[CLIPS.name], row["targets"]["face"]["values"]) == (b"", b"", [])


def test_what_lies_outside_of_the_roots_is_not_opened(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "videos/a.mp4").symlink_to(tmp_path / "secret.mp4")  # since the plan was made
    stage = make_stage(MediaConfig(faces=FaceConfig("opencv"), timeout_s=30), roots=(str(tmp_path / "videos"),))
    (table,) = stage(planned(str(tmp_path / "videos/a.mp4")))
    (row,) = table.to_pylist()
    assert (row["status"], row["stage"], row["reason"]) == ("failed", "media", "denied")
    assert "--plan.allowed_roots" in row["detail"]


def test_a_segments_times_count_from_its_start_in_the_file(tmp_path):
    sound = voice(6.0, 3)
    soundfile.write(tmp_path / "a.wav", sound, 16_000)
    uri = str(tmp_path / "a.wav")
    carried = pa.schema([(name, pa.float64()) for name in SEGMENT_COLUMNS])
    schema = labels_schema([TARGET], carried)
    table = planned(uri, uri).to_pylist()
    for row, start_s in zip(table, (1.25, 3.0), strict=True):
        row |= {"start_s": 1.0, "end_s": 2.5, **dict(zip(SEGMENT_COLUMNS, (start_s, None), strict=True))}
    stage = MediaStage(schema, lambda work: None, MediaConfig(), Needs(clips=False, face=False, speech=False))
    rows = [row for part in stage(pa.Table.from_pylist(table, plan_schema(carried))) for row in part.to_pylist()]
    for row, at in zip(rows, (2.25, 4.0), strict=True):
        expected = sound[round(at * 16_000) : round((at + 1.5) * 16_000)] * 32768
        np.testing.assert_allclose(decode_flac(row["audio"]), expected, atol=1)
        assert (row["start_s"], row["segment_start_s"]) == (1.0, at - 1.0)


def test_the_language_of_the_manifest_decides_among_tracks_and_the_row_says_so(tmp_path):
    path = tmp_path / "a.mkv"
    write_tracks(path, [Sound(voice(1.6), "eng"), Sound(voice(1.6, seed=1), "ger")], duration_s=1.6)
    stage = make_stage(MediaConfig(timeout_s=60), needs=Needs(clips=False, face=False))
    details, sounds = [], []
    for language in ("de", "en", ""):
        ((row,),) = (table.to_pylist() for table in stage(planned(str(path), language=language)))
        assert row["status"] == ""
        details.append(row["detail"])
        sounds.append(row["content_hash"])
    assert details == ["sound of track a:1", "sound of track a:0", "sound of track a:0"]
    assert sounds[0] != sounds[1] == sounds[2]
