import json
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from media_files import moving_gradient, voice_like, write_video

from liser_ray.corpora import plan, plan_table, recordings
from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.plan import extend_plan, load_plan_summary, make_plan, replan_failed
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.schema import plan_schema
from liser_ray.labeling.schema import ADDED_COLUMNS, CLIPS, labels_schema
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import Reason
from liser_ray.runtime import display
from liser_ray.runtime.errors import UserError
from liser_ray.storage import s3
from liser_ray.storage.listing import look
from liser_ray.teachers.targets import Target

CONFIG = PlanConfig(span_seconds=1.0, probe_workers=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "c").mkdir()
    for name, duration_s in {"a.mkv": 0.8, "b.mkv": 3.0, "c/d.mkv": 2.1, "e.mkv": 0.3, "silent.mkv": 1.5}.items():
        sound = None if name == "silent.mkv" else voice_like
        picture = lambda t: moving_gradient(t, (48, 32))  # noqa: E731
        write_video(folder / name, picture, 10, duration_s=duration_s, audio=sound, audio_codec="pcm_s16le")
    (folder / "text.mp4").write_text("no video\n" * 100)
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.fixture
def work(tmp_path):
    """A folder for recordings that come and go, beside the output."""
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def read(output):
    return pq.read_table(f"{output}/plan")


def brief(table, root):
    columns = ("uri", "start_s", "end_s", "status", "reason")
    rows = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
    return [(uri.removeprefix(f"{root}/"), round(a, 3), round(b, 3), status, why) for uri, a, b, status, why in rows]


EXPECTED = [
    ("a.mkv", 0.0, 0.8, "", ""),
    *(("b.mkv", start, start + 1, "", "") for start in (0.0, 1.0, 2.0)),
    *(("c/d.mkv", start, start + 1, "", "") for start in (0.0, 1.0)),
    ("c/d.mkv", 2.0, 2.1, "filtered", "too_short"),
    ("e.mkv", 0.0, 0.3, "filtered", "too_short"),
    ("silent.mkv", 0.0, 1.5, "filtered", "no_audio"),
    ("text.mp4", 0.0, 0.0, "failed", "not_media"),
]


def test_a_folder_becomes_one_row_a_span(videos, tmp_path):
    summary = make_plan(str(videos), str(tmp_path), CONFIG)
    table = read(tmp_path)
    assert brief(table, videos) == EXPECTED
    assert table.schema == plan_schema()
    assert len(set(table.column("span_id").to_pylist())) == len(EXPECTED)
    assert len(set(table.column("recording_id").to_pylist())) == 6
    assert set(table.column("stage").to_pylist()) == {"", "plan"}
    first = table.slice(1, 1).to_pylist()[0]
    assert (first["width"], first["height"], first["frame_rate_hz"]) == (48, 32, 10.0)
    assert first["recording_s"] == pytest.approx(3.0, abs=0.01)
    assert first["size_bytes"] == (videos / "b.mkv").stat().st_size

    assert (summary.recordings, summary.spans, summary.spans_to_label, summary.ignored_files) == (6, 10, 6, 1)
    assert (summary.filtered, summary.failed) == ({"too_short": 2, "no_audio": 1}, {"not_media": 1})
    assert summary.to_label_s == pytest.approx(5.8, abs=0.01)


def test_the_same_input_gives_the_same_plan_and_replaces_the_old_one_and_a_dry_run_writes_nothing(videos, tmp_path):
    output = tmp_path / "out"
    dry = make_plan(str(videos), None, CONFIG)
    assert not output.exists()
    assert make_plan(str(videos), str(output), CONFIG) == replace(dry, files=1)
    before = read(output)
    (output / "plan/part-00001/plan-00007.parquet").write_bytes(b"left by a larger plan")
    make_plan(str(videos), str(output), CONFIG)
    assert read(output) == before


def test_the_summary_is_there_when_the_plan_is_complete_and_not_before(videos, tmp_path, monkeypatch):
    assert load_plan_summary(str(tmp_path)) is None
    summary = make_plan(str(videos), str(tmp_path), CONFIG)
    assert load_plan_summary(str(tmp_path)) == summary
    mark = tmp_path / "plan.json"
    assert json.loads(mark.read_text())["failed"] == {"not_media": 1}
    mark.write_text(mark.read_text().replace(f'"part-00001": {summary.spans}', '"part-00001": 999'))
    assert load_plan_summary(str(tmp_path)) == summary  # counted anew: it was not brought up to date

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "probe_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_plan(str(videos), str(tmp_path), CONFIG)
    assert load_plan_summary(str(tmp_path)) is None


@pytest.mark.parametrize("output", ["videos/out", "", "videos"])
def test_an_output_below_the_input_is_no_input_and_one_around_it_or_the_same_leaves_nothing_out(
    videos, tmp_path, output
):
    shutil.copytree(videos, tmp_path / "videos")
    if output == "videos/out":
        (tmp_path / output).mkdir()
        shutil.copy(videos / "a.mkv", tmp_path / output)
    summary = make_plan(str(tmp_path / "videos"), str(tmp_path / output), CONFIG)
    assert (summary.recordings, summary.ignored_files) == (6, 1)
    assert brief(read(tmp_path / output), tmp_path / "videos") == EXPECTED


@pytest.mark.parametrize("name", ["plan", "plan/more", "labels", "checkpoint", "runs"])
def test_an_input_in_a_folder_that_the_job_fills_is_refused_and_stays(videos, tmp_path, name):
    shutil.copytree(videos, tmp_path / name)
    pq.write_table(pa.table({"uri": ["a.mkv"]}), tmp_path / name / "m.parquet")
    for given in (tmp_path / name, tmp_path / name / "m.parquet"):
        with pytest.raises(UserError, match=r"which the job fills\. Use another --output"):
            make_plan(str(given), str(tmp_path), CONFIG)
    assert (tmp_path / name / "m.parquet").exists()


def test_columns_of_the_manifest_are_carried_to_every_row(videos, tmp_path):
    manifest = {"uri": ["b.mkv", "gone.mkv", "text.mp4", "b.mkv"], "age": pa.array([31, 32, None, 4], pa.int16())}
    pq.write_table(pa.table(manifest), videos / "m.parquet")
    summary = make_plan(str(videos / "m.parquet"), str(tmp_path), CONFIG)
    (videos / "m.parquet").unlink()
    table = read(tmp_path)
    assert table.schema == plan_schema(pa.schema([("age", pa.int16())]))
    assert table.column("age").to_pylist() == [31, 31, 31, 32, None]
    assert table.column("reason").to_pylist() == ["", "", "", "missing", "not_media"]
    assert summary.extra_columns == {"age": "int16"}
    assert summary.duplicates == 1


TABLE = labels_schema([Target("face", "distribution", ("a", "b"), 16 / 30, 16 / 30, "", "face")])


OURS = [name for name in TABLE.names if name not in {"uri", "start_s", "end_s"}]


@pytest.mark.parametrize("name", [*OURS, CLIPS.name, *plan_schema().names[-5:]])
def test_a_column_with_the_name_of_one_of_ours_is_refused_before_any_work(tmp_path, name):
    pq.write_table(pa.table({"uri": ["a.mp4"], name: ["x"]}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match=f"'{name}' has the name of a column of the table. Rename it"):
        make_plan(str(tmp_path / "m.parquet"), str(tmp_path / "out"), CONFIG, ADDED_COLUMNS)


class TestSegments:
    LIST = (
        "uri,start,end,who\nb.mkv,0.5,2.75,p\nb.mkv,2,2.5,q\nb.mkv,2,,r\na.mkv,,0.8,s\nb.mkv,2,9,t\nb.mkv,3.5,4,u\n"
        "b.mkv,2,2,v\ngone.mkv,1,2,w\nb.mkv,0,3.05,x\nb.mkv,,,y\n"
    )

    def write(self, folder, text=LIST):
        (folder / "m.csv").write_text(text)
        return str(folder / "m.csv")

    def test_each_is_planned_from_its_own_start_as_far_as_it_lies_in_its_file(self, videos, tmp_path):
        summary = make_plan(self.write(tmp_path), str(tmp_path / "out"), CONFIG, media_folder=str(videos))
        table = read(tmp_path / "out")
        rows = [
            (row["who"], row["start_s"], row["end_s"], row["reason"], row["segment_start_s"], row["segment_end_s"])
            for row in table.to_pylist()
        ]
        assert rows == [
            *(("p", start, end, "", 0.5, 2.75) for start, end in [(0.0, 1.0), (1.0, 2.0)]),
            ("p", 2.0, 2.25, "too_short", 0.5, 2.75),
            ("q", 0.0, 0.5, "too_short", 2.0, 2.5),
            ("r", 0.0, pytest.approx(1.0, abs=0.01), "", 2.0, None),
            ("s", 0.0, 0.8, "", 0.0, 0.8),
            *((who, 0.0, 0.0, "bad_segment", *place) for who, *place in [("t", 2, 9), ("u", 3.5, 4), ("v", 2, 2)]),
            ("w", 0.0, 0.0, "missing", 1.0, 2.0),
            *(("x", start, start + 1, "", 0.0, 3.05) for start in (0.0, 1.0, 2.0)),
            *(("y", start, start + 1, "", 0.0, None) for start in (0.0, 1.0, 2.0)),
        ]
        ids = {row["who"]: row["recording_id"] for row in table.to_pylist()}
        assert len(set(ids.values())) == len(ids)
        assert len(set(table["span_id"].to_pylist())) == table.num_rows
        make_plan(str(videos), str(tmp_path / "whole"), CONFIG)
        assert ids["y"] in read(tmp_path / "whole")["recording_id"].to_pylist()  # all of a file, as ever
        assert (summary.recordings, summary.failed) == (10, {"bad_segment": 3, "missing": 1})
        assert "from 2 to 9 s of a file of 3.0" in table["detail"].to_pylist()[6]
        assert make_plan(self.write(tmp_path), str(tmp_path / "out"), CONFIG, media_folder=str(videos)) == summary
        assert read(tmp_path / "out") == table

    def test_those_that_have_come_since_and_those_that_failed_are_planned_as_at_once(self, videos, tmp_path):
        whole, grown = (str(tmp_path / name) for name in ("whole", "grown"))
        (tmp_path / "in").mkdir()
        first = "".join(self.LIST.splitlines(keepends=True)[:3])
        make_plan(self.write(tmp_path / "in", first), grown, CONFIG)
        for name in ("a.mkv", "b.mkv"):
            shutil.copy2(videos / name, tmp_path / "in")
        replan_failed(grown)
        self.write(tmp_path / "in")
        extended = extend_plan(grown)
        once = make_plan(str(tmp_path / "in/m.csv"), whole, CONFIG)
        assert read(grown).equals(read(whole))
        assert (extended.spans, extended.failed) == (once.spans, once.failed)

    def test_a_file_is_looked_into_once_for_segments_that_follow_each_other(self, videos, tmp_path, monkeypatch):
        looked, called, submit = Counter(), Counter(), Sandbox.submit
        monkeypatch.setattr(recordings, "look", lambda uri, roots=(): looked.update([uri]) or look(uri, roots))
        monkeypatch.setattr(Sandbox, "submit", lambda self, f, *a, **k: called.update(a[0]) or submit(self, f, *a, **k))
        rows = [f"{name}.mkv,{number / 100},{number / 100 + 0.6}\n" for name in "ab" for number in range(20)]
        manifest = self.write(tmp_path, "uri,start,end\n" + "".join(rows))
        summary = make_plan(manifest, None, CONFIG, media_folder=str(videos))
        assert (summary.spans, summary.recordings) == (40, 40)
        assert called == {f"{videos}/a.mkv": 1, f"{videos}/b.mkv": 1}
        assert looked == called | {manifest: 1}


def test_files_end_between_recordings(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_table, "ROWS_PER_FILE", 2)
    monkeypatch.setattr(plan_table, "ROWS_PER_GROUP", 2)
    summary = make_plan(str(videos), str(tmp_path), CONFIG)
    files = sorted((tmp_path / "plan").rglob("*.parquet"))
    assert len(files) == summary.files == 4
    by_file = [{row[0] for row in brief(pq.read_table(file), videos)} for file in files]
    assert by_file == [{"a.mkv", "b.mkv"}, {"c/d.mkv"}, {"e.mkv", "silent.mkv"}, {"text.mp4"}]
    assert brief(read(tmp_path), videos) == EXPECTED


def test_s3_gives_the_same_plan_as_the_folder(videos, tmp_path, s3_store):
    bucket = s3_store.bucket()
    for path in videos.rglob("*.*"):
        s3_store.client.upload_file(str(path), bucket, f"in/{path.relative_to(videos)}")
    output = f"s3://{bucket}/in/out/"
    for _ in range(2):  # the second replaces the first, and takes its files for no input
        summary = make_plan(f"s3://{bucket}/in", output, CONFIG)
    assert load_plan_summary(output) == summary
    assert summary.ignored_files == 1
    keys = [one["Key"] for one in s3_store.client.list_objects_v2(Bucket=bucket, Prefix="in/out/")["Contents"]]
    assert [key for key in keys if not key.endswith("/")] == [
        "in/out/plan.json",
        "in/out/plan/part-00001/plan-00000.parquet",
    ]
    s3_store.client.download_file(bucket, "in/out/plan/part-00001/plan-00000.parquet", str(tmp_path / "plan"))
    assert brief(pq.read_table(tmp_path / "plan"), f"s3://{bucket}/in") == EXPECTED


def test_what_comes_of_failed_recordings_is_put_in_their_places(videos, tmp_path, monkeypatch, work):
    monkeypatch.setattr(plan, "ROWS_PER_GROUP", 2)
    output = str(tmp_path / "out")
    shutil.copytree(videos, work, dirs_exist_ok=True)
    manifest = work / "manifest.csv"
    manifest.write_text("uri,speaker\nb.mkv,q\na.mkv,r\nc/d.mkv,s\nsilent.mkv,t\ntext.mp4,u\ne.mkv,v\n")
    whole = make_plan(str(manifest), str(tmp_path / "whole"), CONFIG)
    gone = ("b.mkv", "c/d.mkv", "silent.mkv", "e.mkv")
    for name in gone:
        (work / name).unlink()
    make_plan(str(manifest), output, CONFIG)
    for name in gone:
        shutil.copy2(videos / name, work / name)
    assert replan_failed(output, {Reason.TIMEOUT}).failed == {"missing": 4, "not_media": 1}
    assert replan_failed(output) == load_plan_summary(output) == whole
    assert read(output) == read(tmp_path / "whole")


def test_many_failed_recordings_are_looked_for_at_the_same_time_and_it_is_said(tmp_path, monkeypatch, capsys):
    under_way, most, lock = 0, 0, threading.Lock()

    def answer_late(uri):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        with lock:
            under_way -= 1
        raise FileNotFoundError("no such object")

    monkeypatch.setattr(s3, "stat", answer_late)
    pq.write_table(pa.table({"uri": [f"s3://lab/{number}.mp4" for number in range(300)]}), tmp_path / "m.parquet")
    make_plan(str(tmp_path / "m.parquet"), str(tmp_path / "out"), CONFIG)
    planned, most = read(tmp_path / "out"), 0
    monkeypatch.setattr(display, "_LINE_EVERY_S", 0)
    assert replan_failed(str(tmp_path / "out")).failed == {"missing": 300}
    assert most > 16
    assert "300/300 failed recordings" in capsys.readouterr().err
    assert read(tmp_path / "out") == planned


def test_what_has_come_since_is_planned_beside_what_was_there(videos, tmp_path, caplog, work):
    output = str(tmp_path / "out")
    shutil.copy2(videos / "b.mkv", work)
    make_plan(str(work), output, CONFIG)
    before = read(output)
    shutil.copytree(videos, work, dirs_exist_ok=True)
    summary = extend_plan(output)
    after = read(output)
    assert after.slice(0, 3) == before
    whole = make_plan(str(work), str(tmp_path / "whole"), CONFIG)
    assert sorted(after.to_pylist(), key=str) == sorted(read(tmp_path / "whole").to_pylist(), key=str)
    assert vars(summary) == {**vars(whole), "files": 2, "recorded_s": pytest.approx(whole.recorded_s)}
    assert load_plan_summary(output) == summary == extend_plan(output)

    (work / "e.mkv").unlink()
    assert "Changed" not in caplog.text
    (work / "a.mkv").touch()
    assert extend_plan(output) == summary
    assert "Changed since they were planned: 1 of the recordings." in caplog.text
    assert read(output) == after


def test_an_extension_that_was_cut_off_counts_as_far_as_it_came(videos, tmp_path, monkeypatch, work):
    output = str(tmp_path / "out")
    shutil.copy2(videos / "e.mkv", work)
    make_plan(str(work), output, CONFIG)
    shutil.copytree(videos, work, dirs_exist_ok=True)
    monkeypatch.setattr(plan_table, "ROWS_PER_FILE", 2)
    monkeypatch.setattr(plan_table, "ROWS_PER_GROUP", 2)

    def interrupted(*arguments):
        yield from islice(probe_all(*arguments), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "probe_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extend_plan(output)
    monkeypatch.setattr(plan, "probe_all", probe_all)
    cut_off = load_plan_summary(output)
    assert (cut_off.recordings, cut_off.spans) == (3, len(read(output))) == (3, 5)
    summary = extend_plan(output)
    ids = read(output)["span_id"].to_pylist()
    assert (summary.recordings, summary.spans) == (6, 10) == (6, len(set(ids)))
    assert len(ids) == 10


def test_a_manifest_that_grows_keeps_its_columns(videos, tmp_path, caplog, work):
    manifest, output = work / "growing.csv", str(tmp_path / "out")
    shutil.copytree(videos, work, dirs_exist_ok=True)
    manifest.write_text("uri,age\na.mkv,31\n")
    make_plan(str(manifest), output, CONFIG)
    (work / "a.mkv").unlink()
    manifest.write_text("uri,age\na.mkv,31\nb.mkv,32\n")
    extend_plan(output)
    assert "Changed" not in caplog.text  # a row whose file is gone
    assert read(output)["age"].to_pylist() == ["31", "32", "32", "32"]
    manifest.write_text("uri,age,city\na.mkv,31,x\ne.mkv,33,y\n")
    with pytest.raises(UserError, match="other columns than when it was planned"):
        extend_plan(output)
    assert len(read(output)) == 4


def spans_of_parts(output):
    return {path.name: pq.read_table(path).num_rows for path in sorted((output / "plan").iterdir())}


def test_a_plan_is_made_in_parts_that_hold_so_many_spans_or_one_recording_and_the_last_is_filled_up(
    videos, tmp_path, work
):
    output, config = tmp_path / "out", replace(CONFIG, spans_per_part=4)
    shutil.copytree(videos, work, dirs_exist_ok=True)
    (work / "text.mp4").unlink()
    summary = make_plan(str(work), str(output), config)
    assert summary.spans_by_part == spans_of_parts(output) == {"part-00001": 4, "part-00002": 4, "part-00003": 1}
    assert brief(read(output), work) == EXPECTED[:-1]
    for name in ("f.mkv", "g.mkv"):
        shutil.copy2(videos / "b.mkv", work / name)
    summary = extend_plan(str(output))
    assert (
        summary.spans_by_part
        == spans_of_parts(output)
        == {
            "part-00001": 4,
            "part-00002": 4,
            "part-00003": 4,
            "part-00004": 3,
        }
    )
    assert summary == load_plan_summary(str(output))
    summary = make_plan(str(work), str(output), replace(config, spans_per_part=1))
    assert list(summary.spans_by_part.values()) == [1, 3, 3, 1, 3, 3, 1]


def test_a_plan_of_another_version_is_refused(videos, tmp_path, work):
    shutil.copy2(videos / "b.mkv", work)
    make_plan(str(work), str(tmp_path / "out"), CONFIG)
    told = json.loads((tmp_path / "out/plan.json").read_text())
    (tmp_path / "out/plan.json").write_text(json.dumps(told | {"format_version": 1}))
    with pytest.raises(UserError, match="another version of this package: label into a new --output"):
        load_plan_summary(str(tmp_path / "out"))


def test_limits_of_a_later_call_count_for_what_it_looks_at(videos, tmp_path, work):
    output = str(tmp_path / "out")
    shutil.copy2(videos / "b.mkv", work)
    assert make_plan(str(work), output, replace(CONFIG, max_recording_hours=2 / 3600)).failed == {"too_large": 1}
    shutil.copy2(videos / "c/d.mkv", work)
    larger = replace(CONFIG, max_recording_hours=1.0, span_seconds=2.0)
    summary = extend_plan(output, larger)
    assert (summary.failed, summary.spans) == ({"too_large": 1}, 4)  # in spans of 1 s, as it was planned
    assert replan_failed(output, None, larger).failed == {}
