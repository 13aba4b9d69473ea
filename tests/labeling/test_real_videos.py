"""Real videos from the web: talking heads, and recordings that are not what the pipeline wants."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_teachers import mean_colour_onnx

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.plan import make_plan
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.schema import labels_schema
from liser_ray.labeling.teacher_stage import TeacherStage
from liser_ray.media.span import MediaConfig, Needs
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.targets import Target

pytestmark = pytest.mark.slow

SCHEMA = labels_schema([Target("face", "distribution", ("red", "green", "blue"), 16 / 30, 16 / 30, "", "face")])


@pytest.fixture(scope="module")
def colour_teacher(tmp_path_factory) -> dict[str, str]:
    """A classifier of frames that costs nothing."""
    folder = tmp_path_factory.mktemp("static")
    mean_colour_onnx(folder / "colour.onnx", ("n", 3, 224, 224))
    (folder / "colour.yaml").write_text("weights: colour.onnx\nlabels: [red, green, blue]\n")
    return {"kind": "face", "weights": str(folder / "colour.yaml")}


@pytest.fixture(scope="module")
def rows(test_data, yunet_home, tmp_path_factory):
    """What the media stage makes of the videos with the job's defaults, by file name and the planned start.

    Rows without a status are open: they go to the teachers and are labeled.
    """
    folder = tmp_path_factory.mktemp("real")
    videos = sorted(
        str(path)
        for kind in ("talking_heads", "hard_videos")
        for path in (test_data / kind).iterdir()
        if path.suffix != ".csv"
        and path.name not in ("latentsync_3.mp4", "many_faces_small.mp4")  # a third of the time
    )
    assert len(videos) == 19
    pq.write_table(pa.table({"uri": videos}), folder / "manifest.parquet")
    make_plan(str(folder / "manifest.parquet"), str(folder), PlanConfig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_HOME", str(yunet_home))
        stage = MediaStage(SCHEMA, lambda work: None, MediaConfig(), Needs())
        tables = stage(pq.read_table(folder / "plan"))
        rows = [row for table in tables for row in table.drop_columns(["clips"]).to_pylist()]
    return {(Path(row["uri"]).name, row["start_s"] // 16 * 16): row for row in rows}


def test_talking_heads_are_labeled_nearly_throughout(rows, test_data):
    heads = {path.name for path in (test_data / "talking_heads").iterdir()}
    found = {span: row for span, row in rows.items() if span[0] in heads}
    assert len(found) == 16  # 13 videos, one of 60 s among them
    for span, row in found.items():
        assert row["status"] == "", (span, row["reason"], row["detail"])
        assert np.median(row["clip_valid"]) >= 0.9, span
        assert row["other_faces"] < 0.1, span


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("no_face.mp4", "filtered", "no_face"),
        ("silent_no_face.mp4", "filtered", "no_face"),
        ("face_then_none.mov", "filtered", "no_face"),
        ("group_1080p.mp4", "filtered", "two_faces"),
        ("music_face.mp4", "", ""),
        ("two_faces_cuts.mp4", "", ""),
    ],
)
def test_hard_videos_end_with_the_right_reason(rows, name, status, reason):
    assert {(row["status"], row["reason"]) for (of, _), row in rows.items() if of == name} == {(status, reason)}


def test_a_face_before_the_sound_begins_does_not_count(rows):
    row = rows["face_then_none.mov", 0.0]
    assert row["start_s"] == pytest.approx(5 * 16 / 30)  # the first window after 2.43 s
    assert [width for _, _, width, _ in row["face_box"]] == [0] * 7
    assert "sound from 2.43 to" in row["detail"]


def test_windows_across_cuts_and_of_others_are_invalid(rows):
    """The stage from afar, a man in profile, the singer (3.6 s to 7.9 s), the audience; no pictures before 0.85 s."""
    row = rows["two_faces_cuts.mp4", 0.0]
    assert row["start_s"] == pytest.approx(2 * 16 / 30)
    assert row["clip_valid"][5:12] == [1] * 7
    assert not any(row["clip_valid"][:5] + row["clip_valid"][12:])
    assert 0.1 < row["other_faces"] < 0.5


def test_a_span_is_labeled_only_where_the_face_is(test_data, yunet_home, colour_teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFACE_HOME", str(yunet_home))
    make_plan(str(test_data / "hard_videos/two_faces_cuts.mp4"), str(tmp_path), PlanConfig())
    entries = read_teachers({"face": colour_teacher})
    stage = TeacherStage(entries, ["face"], "float32")
    media = MediaStage(SCHEMA, lambda work: None, replace(MediaConfig(), min_speech_fraction=0.0), Needs())
    (prepared,) = media(pq.read_table(tmp_path / "plan"))
    (row,) = stage(prepared).to_pylist()
    assert (row["status"], row["reason"]) == ("", "")  # open: on its way to the next stage
    face = row["targets"]["face"]
    labeled = np.sum(face["values"], axis=1) > 0.5
    assert labeled.tolist() == [share > 0 for share in face["valid"]]
    assert labeled[5:12].all()
    assert not labeled[:5].any()
    assert row["audio"]
