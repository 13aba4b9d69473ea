"""Whose plan a job takes, where its input is a labels table."""

from dataclasses import replace

import pytest
from small_jobs import row, write_job

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.plan import load_plan_summary
from liser_ray.labeling.config import LabelConfig, MeasureConfig
from liser_ray.labeling.planning import plan_corpus
from liser_ray.labeling.table_input import find_table
from liser_ray.runtime.errors import UserError

SPEECH = ["more=speech:teachers/one"]


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_tables_plan_takes_the_place_of_an_old_one(tmp_path):
    table = write_job(tmp_path / "table", [row(k) for k in range(3)])
    write_job(tmp_path / "out", [row(k) for k in range(5)])
    (tmp_path / "out/plan/part-00001/plan-00001.parquet").write_bytes(
        (tmp_path / "out/plan/part-00001/plan-00000.parquet").read_bytes()
    )
    (tmp_path / "out/run.json").unlink()  # only planned so far
    config = LabelConfig(table.output, str(tmp_path / "out"), SPEECH)
    plan = plan_corpus(config)
    assert (plan.spans, plan.input_uri) == (3, table.output)
    assert load_plan_summary(config.output) == plan == plan_corpus(config)


def test_a_dry_run_into_an_output_that_has_labels_of_others_changes_nothing(tmp_path):
    table = write_job(tmp_path / "table", [row(k) for k in range(3)])
    write_job(tmp_path / "out", [row(k) for k in range(5)])
    before = files_of(tmp_path)
    assert plan_corpus(LabelConfig(table.output, str(tmp_path / "out"), SPEECH)).spans == 3
    assert files_of(tmp_path) == before


def test_a_plan_is_parted_anew_until_labeling_begins_and_then_only_grows(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()

    def planned(spans_per_part, **settings):
        plan = PlanConfig(spans_per_part=spans_per_part, probe_workers=1)
        config = LabelConfig(str(videos), str(tmp_path / "out"), SPEECH, plan=plan, **settings)
        return list(plan_corpus(config).spans_by_part.values())

    for name in "abc":
        (videos / f"{name}.mp4").write_text("no video" * 100)
    assert planned(3) == [3]
    assert planned(1) == [1, 1, 1]
    (tmp_path / "out/run.json").touch()
    (videos / "d.mp4").write_text("no video" * 100)
    assert planned(2) == [1, 1, 1]
    assert planned(2, extend=True) == [1, 1, 2]
    (videos / "e.mp4").write_text("no video" * 100)
    wider = PlanConfig(spans_per_part=2, probe_workers=1, max_recording_hours=100.0)  # of new recordings
    grown = plan_corpus(LabelConfig(str(videos), str(tmp_path / "out"), SPEECH, plan=wider, extend=True))
    assert [*grown.spans_by_part.values()] == [1, 1, 2, 1]
    assert load_plan_summary(str(tmp_path / "out")) == grown


def test_a_job_that_writes_beside_its_recordings_does_not_take_its_own_output_for_a_table(tmp_path):
    own = write_job(tmp_path, [row(0)])
    assert find_table(LabelConfig(own.output, own.output, SPEECH)) is None
    other = LabelConfig(own.output, str(tmp_path / "other"), SPEECH)
    assert find_table(other).output == own.output
    for wrong in (replace(other, measure=MeasureConfig(60)), replace(other, extend=True)):
        with pytest.raises(UserError, match="is a labels table"):
            find_table(wrong)
