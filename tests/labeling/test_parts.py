"""A job in parts: labeled by several clusters, summed up by the last one, whoever that is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from labeling.tables import assert_same_labels, rows_of

from liser_ray.labeling.config import LabelConfig, PoolConfig
from liser_ray.labeling.job import label_corpus, print_result
from liser_ray.labeling.planning import describe_plan, plan_corpus
from liser_ray.runtime.errors import UserError
from liser_ray.student.data.labels_table import open_labels_table


def ids_below(folder: Path) -> list[str]:
    return sorted(one for path in folder.rglob("*.parquet") for one in pq.read_table(path)["span_id"].to_pylist())


@pytest.mark.slow
def test_two_clusters_share_a_job_and_the_last_one_sums_it_up(quick_config, quick_rows, ray_session, tmp_path, capsys):
    config = replace(
        quick_config,
        output=str(tmp_path / "out"),
        plan=replace(quick_config.plan, spans_per_part=3),
        media_pool=PoolConfig(actors=1),
    )
    out, card = tmp_path / "out", tmp_path / "out/run.json"
    with pytest.raises(UserError, match="run it once with --dry_run and without --part"):
        label_corpus(replace(config, part="1/2"))
    assert "3 parts" in describe_plan(plan_corpus(config))
    with pytest.raises(UserError, match="nothing for --part 4/4: the plan has 3 parts"):
        label_corpus(replace(config, part="4/4"))

    first = label_corpus(replace(config, part="2/2"))
    assert (first.spans_run, first.open_part) == (3, "part-00001 has 0 rows for its 3 spans")
    print_result(first)
    assert "The table is not whole yet: part-00001 has 0 rows" in capsys.readouterr().out
    assert json.loads(card.read_text())["results"] is None
    assert not (out / "report.html").exists()
    assert ids_below(out / "labels") == ids_below(out / "plan/part-00002")

    second = label_corpus(replace(config, part="1/2"))
    assert (second.spans_run, second.open_part) == (5, "")
    assert sum(second.outcomes.values()) == len(quick_rows)
    assert sum(json.loads(card.read_text())["results"]["rows"].values()) == len(quick_rows)
    assert f"all {len(quick_rows)} spans have their row" in (out / "report.html").read_text()
    assert_same_labels(rows_of(out / "labels"), quick_rows)
    for part in ("part-00001", "part-00002", "part-00003"):
        assert (
            ids_below(out / "labels" / part) == ids_below(out / "checkpoint" / part) == ids_below(out / "plan" / part)
        )
    labeled = [one for one in quick_rows.values() if one["status"] == "labeled"]
    assert open_labels_table(str(out)).n_rows == len(labeled)

    # Another cluster had taken a part as well, and has made some of its rows a second time.
    doubled = next((out / "labels/part-00003").glob("*.parquet"))
    shutil.copy(doubled, doubled.with_name("again-0.parquet"))
    assert label_corpus(replace(config, part="2/2")).open_part.startswith("part-00003 has ")
    assert label_corpus(config).spans_run <= 0
    assert_same_labels(rows_of(out / "labels"), quick_rows)
    assert ids_below(out / "checkpoint") == ids_below(out / "plan")

    # A table in parts is the input of a job that adds a teacher.
    more = LabelConfig(str(out), str(tmp_path / "more"), teachers=["more=energy:"], part="3/3")
    assert plan_corpus(replace(more, part="")).spans_by_part == second.plan.spans_by_part
    assert label_corpus(more).spans_run == 2
    assert ids_below(tmp_path / "more/labels") == ids_below(out / "plan/part-00003")


@pytest.mark.parametrize("part", ["3", "0/4", "5/4", "a/b", "1/2/3"])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(UserError, match="give K/N with K from 1 to N"):
        LabelConfig(part=part)


@pytest.mark.parametrize("given", [{"extend": True}, {"retry_failed": "all"}])
def test_what_changes_all_parts_is_not_done_by_the_cluster_of_one(given):
    with pytest.raises(UserError, match="give them without --part"):
        LabelConfig(part="1/2", **given)
