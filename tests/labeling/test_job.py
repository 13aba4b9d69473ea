"""The whole job on Ray, on a corpus with every kind of trouble."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fault_proxy import CUT, SLOW_DOWN, STALL, FaultProxy
from labeling.conftest import EXPECTED, FEW
from labeling.drivers import start_job
from labeling.tables import assert_same_labels, rows_of

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling import pipeline
from liser_ray.labeling.config import LabelConfig, PoolConfig
from liser_ray.labeling.job import label_corpus
from liser_ray.labeling.media_stage import MediaStage
from liser_ray.labeling.planning import plan_corpus
from liser_ray.labeling.schema import labels_schema, read_recipe
from liser_ray.media.content_hash import digest
from liser_ray.media.faces import FaceConfig
from liser_ray.media.flac import decode_flac
from liser_ray.media.span import MediaConfig
from liser_ray.runtime.errors import UserError
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.job import train_students
from liser_ray.student.training.recipes import defaults_of
from liser_ray.teachers.targets import Target
from liser_ray.teachers.windows import sound_windows

pytestmark = pytest.mark.slow


def test_every_span_ends_in_one_row_with_the_right_reason_in_words_and_the_columns_of_the_manifest(labeled, rows):
    found = {}
    for (name, _), row in sorted(rows.items()):
        found.setdefault(name, []).append((row["status"], row["stage"], row["reason"]))
        # What was cut off in the middle of a span is labeled as far as it goes, and says how far that is.
        assert bool(row["detail"]) == (row["status"] != "labeled" or name == "truncated.mp4"), name
        assert row["speaker"] == len(name)
    assert found == EXPECTED
    assert len(rows) == labeled.plan.spans == sum(labeled.outcomes.values())


def test_pretext_tasks_of_real_videos_from_their_frames_to_a_student(
    ray_session, test_data, landmark_file, landmarker_file, tones, tmp_path
):
    names = ("aniportrait_ref", "retalking_3", "retalking_5")
    (tmp_path / "list.csv").write_text("\n".join(["path", *(f"{test_data}/talking_heads/{one}.mp4" for one in names)]))
    tasks = {"energy": "", "face_motion": landmark_file, "action_units": landmarker_file}
    teachers = {name: {"kind": name} | ({"weights": path} if path else {}) for name, path in tasks.items()}
    result = label_corpus(LabelConfig(str(tmp_path / "list.csv"), str(tmp_path / "labels"), teachers=teachers))
    found = rows_of(Path(result.folders.labels))
    assert [row["status"] for row in found.values()] == ["labeled"] * 3
    for row in found.values():
        values = {name: np.array(row["targets"][name]["values"]) for name in tasks}
        valid = {name: np.array(row["targets"][name]["valid"]) > 0.5 for name in tasks}
        assert (values["energy"][valid["energy"]] > 3).all()
        assert (values["energy"] < 12).all()
        assert (values["face_motion"][valid["face_motion"]] > 0.001).all()
        assert (values["face_motion"] < 0.5).all()
        np.testing.assert_allclose(values["action_units"][valid["action_units"]].sum(axis=1), 1, atol=1e-6)
    given = ["--labeled", tones, "--unlabeled", str(tmp_path / "labels"), "--recipe", "pretext", "--folds", "0"]
    given += ["--train.epochs", "1", "--output", str(tmp_path / "student"), "--workers", "0"]
    (record,) = train_students(parse_settings(StudentConfig, "", given, defaults=defaults_of)).records
    assert record.recipe == "pretext"
    first, second = json.loads((tmp_path / "student/seed-0-fold-0/student.json").read_text())["history"]
    assert all(first[name] > 0 == second[name] for name in tasks)
    assert second["supervised"] > 0


def test_every_file_has_the_pinned_schema(labeled, label_config):
    targets = [target for one in label_config.entries for target in one.load(torch.device("cpu")).targets]
    assert [(one.name, one.teacher) for one in targets] == [
        ("face", "face"),
        ("speech_fold_0", "speech"),
        ("speech_fold_1", "speech"),
    ]
    pinned = labels_schema(targets, pa.schema([("speaker", pa.int64())]))
    files = list(Path(labeled.folders.labels).rglob("*.parquet"))
    assert len(files) > 3
    for path in files:
        schema = pq.read_schema(path)
        assert schema.equals(pinned), path
        assert [
            Target.from_json(one) for one in read_recipe(schema.metadata[b"liser_ray.recipe"], str(path))["targets"]
        ] == targets
        assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_no_picture_of_anybody_is_stored(labeled, rows):
    files = [path for path in Path(labeled.folders.output).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".parquet", ".json", ".html"}
    assert "data:image" not in Path(labeled.folders.page).read_text()
    one_clip = 16 * 224 * 224 * 3
    assert sum(path.stat().st_size for path in files) < one_clip
    for path in (path for path in files if path.suffix == ".parquet"):
        schema = pq.read_schema(path)
        assert {one.name for one in schema if pa.types.is_binary(one.type)} <= {"audio"}, path
        assert not any(pa.types.is_large_binary(one.type) for one in schema), path
    assert sum(len(row["audio"]) > 0 for row in rows.values()) > 5


def test_windows_and_softmaxes_of_a_labeled_span(rows):
    row = rows["anna.mp4", 3.2]
    for name, hop_s, n_labels in (("face", 16 / 30, 7), ("speech_fold_0", 0.5, 4), ("speech_fold_1", 0.5, 4)):
        target = row["targets"][name]
        assert target["start_s"] == pytest.approx([k * hop_s for k in range(6)])
        assert np.shape(target["values"]) == (6, n_labels)
        assert np.mean(target["valid"]) > 0.5
        np.testing.assert_allclose(np.sum(target["values"], axis=1), 1, rtol=1e-5)
    assert np.mean(row["targets"]["face"]["valid"]) > 0.9
    x, y, width, height = row["face_box"][0]
    assert 0.3 < x + width / 2 < 0.7
    assert 0.2 < y + height / 2 < 0.7
    assert row["speech_fraction"] > 0.5


def test_the_sound_is_kept_and_labels_can_be_made_from_it_again(rows, label_config):
    row = rows["ben.mp4", 0.0]
    pcm = decode_flac(row["audio"])
    assert len(pcm) == 51_200
    assert digest(pcm) == row["content_hash"][:32]
    _, speech = label_config.entries
    for name, answer in speech.load(torch.device("cpu"))(sound_windows(pcm, 0.5, 0.5)[0]).items():
        np.testing.assert_allclose(row["targets"][name]["values"], answer.values, atol=1e-5)


def test_the_page_and_the_counts_tell_what_the_table_holds(labeled, rows):
    html = Path(labeled.folders.page).read_text()
    assert f"all {len(rows)} spans have their row" in html
    assert "two_faces" in html
    assert "truncated.mp4" in html
    of_labeled = [row for row in rows.values() if row["status"] == "labeled"]
    for name, counts in labeled.labels_by_class.items():
        softmaxes = [row["targets"][name]["values"] for row in of_labeled]
        said = [int(np.sum(one, axis=0).argmax()) for one in softmaxes]
        assert list(counts.values()) == np.bincount(said, minlength=len(counts)).tolist()


def test_a_broken_stretch_costs_its_windows_only(rows):
    before, middle, after = (rows["broken_middle.mp4", start]["targets"]["face"]["valid"] for start in (0.0, 3.2, 6.4))
    assert min(*before, *after) > 0.9
    assert middle[0] > 0.9  # 3.20 to 3.73 s; the noise is from 4 to 5 s
    assert middle[2] == 0  # 4.27 to 4.80 s
    for row in (rows["broken_middle.mp4", 3.2], rows["anna.mp4", 0.0]):
        face = row["targets"]["face"]
        for share, softmax in zip(face["valid"], face["values"], strict=True):
            assert sum(softmax) == pytest.approx(1 if share > 0 else 0, abs=1e-5)


def test_a_finished_job_is_left_alone_by_itself_by_another_recipe_and_by_a_dry_run(labeled, label_config):
    files = {path: path.stat().st_mtime_ns for path in Path(labeled.folders.output).rglob("*")}
    config = replace(label_config, input=labeled.plan.input_uri, output=labeled.folders.output)
    again = label_corpus(config)
    assert (again.spans_run, again.outcomes) == (0, labeled.outcomes)
    with pytest.raises(UserError, match=r"media\.min_speech_fraction: was 0\.05, is now 0\.5"):
        label_corpus(replace(config, media=replace(config.media, min_speech_fraction=0.5)))
    assert plan_corpus(replace(config, plan=replace(config.plan, span_seconds=1.6))).spans > labeled.plan.spans
    assert {path: path.stat().st_mtime_ns for path in Path(labeled.folders.output).rglob("*")} == files


def test_failed_rows_and_new_recordings_run_when_asked(trouble, quick_config, ray_session, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("ben.mp4", "truncated.mp4"):
        (folder / name).write_bytes((trouble / name).read_bytes())
    ben = (folder / "ben.mp4").read_bytes()
    config = replace(quick_config, input=str(folder), output=str(tmp_path / "out"), media_pool=PoolConfig(actors=1))
    plan_corpus(config)
    (folder / "ben.mp4").unlink()  # gone between plan and labels
    first = label_corpus(config)
    assert rows_of(tmp_path / "out/labels")["ben.mp4", 0.0]["reason"] == "missing"
    (folder / "ben.mp4").write_bytes(ben)
    torn = tmp_path / "out/labels/part-00001/torn-0.parquet"  # a run was killed while it wrote this
    torn.write_bytes(b"PAR1 and no end")
    pq.write_table(pa.table({"span_id": ["0" * 32]}), tmp_path / "out/checkpoint/part-00001/torn.pending.parquet")
    card = tmp_path / "out/run.json"
    told = card.read_text()
    card.write_text(json.dumps({**json.loads(told), "results": None}))  # and one before it said what came of it
    assert label_corpus(replace(config, retry_failed="transient")).spans_run == 0
    assert not torn.exists()
    assert json.loads(card.read_text())["results"]["rows"] == json.loads(told)["results"]["rows"]
    assert (tmp_path / "out/report.html").exists()

    before = rows_of(tmp_path / "out/labels")
    (folder / "new.mp4").write_bytes(ben)
    assert label_corpus(config).spans_run == 0
    second = label_corpus(replace(config, retry_failed="all", extend=True))
    assert second.plan.spans == first.plan.spans + 1
    assert second.spans_run == 3
    rows = rows_of(tmp_path / "out/labels")
    assert len(rows) == second.plan.spans
    assert rows["truncated.mp4", 0.0] == before["truncated.mp4", 0.0]
    assert rows["truncated.mp4", 3.2]["reason"] == "truncated"
    assert rows["ben.mp4", 0.0]["status"] == "labeled"
    copy, original = ({("ben.mp4", 0.0): rows[name, 0.0]} for name in ("new.mp4", "ben.mp4"))
    assert_same_labels(copy, original)  # in another batch they differ by rounding
    assert label_corpus(replace(config, extend=True)).spans_run == 0


def test_a_busy_store_a_bad_network_and_other_batches_give_the_same_table(
    trouble, label_config, s3_store, ray_session, few_rows, tmp_path
):
    bucket = s3_store.bucket()
    for name in ("few.parquet", *FEW):
        if (trouble / name).exists():
            s3_store.client.upload_file(str(trouble / name), bucket, f"corpus/{name}")
    config = replace(
        label_config,
        input=f"s3://{bucket}/corpus/few.parquet",
        output=f"s3://{bucket}/labels",
        media_pool=PoolConfig(actors=1, batch_spans=5),
        teacher_pools={"clips": PoolConfig(batch_spans=5), "speech": PoolConfig(batch_spans=7)},
        spans_per_file=3,
    )
    with FaultProxy(s3_store.endpoint, seed=0, slow_down=5, cut=2, stall=1, in_a_row=2) as proxy:
        environment = {"AWS_ENDPOINT_URL": proxy.endpoint, "LISER_S3_TIMEOUT_S": "1"}
        job = start_job(config, ray_session, environment)
        job.join()
    print(dict(proxy.done))
    assert job.exitcode == 0
    assert min(proxy.done[fault] for fault in (SLOW_DOWN, CUT, STALL)) > 0
    (tmp_path / "labels").mkdir()
    for one in s3_store.client.list_objects_v2(Bucket=bucket, Prefix="labels/labels/")["Contents"]:
        if one["Key"].endswith(".parquet"):
            s3_store.client.download_file(bucket, one["Key"], str(tmp_path / "labels" / Path(one["Key"]).name))
    assert_same_labels(rows_of(tmp_path / "labels"), few_rows)


def test_a_machine_that_can_not_work_ends_the_job_in_words(
    trouble, label_config, ray_session, yunet_home, tmp_path, monkeypatch
):
    class OnAMachineWithoutWeights(MediaStage):
        def __init__(self, *arguments):
            os.environ.update(DEEPFACE_HOME=str(tmp_path / "bare"), HTTPS_PROXY="http://127.0.0.1:9")
            (tmp_path / "bare").mkdir(exist_ok=True)
            super().__init__(*arguments)

    monkeypatch.setenv("DEEPFACE_HOME", str(yunet_home))  # the driver has them
    monkeypatch.setattr(pipeline, "MediaStage", OnAMachineWithoutWeights)
    media = {"media": MediaConfig(faces=FaceConfig("yunet")), "media_pool": PoolConfig(actors=1)}
    config = replace(label_config, input=str(trouble / "ben.mp4"), output=str(tmp_path / "out"), **media)
    with pytest.raises(UserError) as caught:
        label_corpus(config)
    assert str(caught.value).startswith("the face detector 'yunet' can't be used: ")
    assert f"{tmp_path}/bare/.deepface/weights: put the file there" in str(caught.value)
    assert "Traceback" not in str(caught.value)
