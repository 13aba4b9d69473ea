from itertools import pairwise

import numpy as np
import pytest
from small_jobs import write_run

from liser_ray.labeling.page.runs import as_shown
from liser_ray.labeling.runs import load_runs


@pytest.fixture
def load(tmp_path):
    def runs(**values):
        write_run(tmp_path, **values)
        return [as_shown(record) for record in load_runs(str(tmp_path / "runs"))]

    return runs


@pytest.mark.parametrize("n_points", [1, 3, 50])
def test_speeds_times_their_stretches_are_all_the_video_of_a_run(load, n_points):
    samples = [[10.0, 1, 16.0], [15.0, 1, 16.0], [40.0, 9, 144.0], [100.0, 12, 192.0]]
    (run,) = load(samples=samples)
    ends, speeds = run.speeds(n_points)
    assert len(speeds) == min(n_points, len(samples))
    stretches_s = [(after - before).total_seconds() for before, after in pairwise(ends)]
    assert np.dot(stretches_s, speeds) == pytest.approx(192.0)
    assert ends[0] == run.started


def test_a_runs_speed_is_its_video_over_its_time(load):
    (run,) = load(seconds=96.0, samples=[[48.0, 6, 96.0], [96.0, 12, 192.0]])
    assert (run.speed, run.n_spans) == (2.0, 12)


def test_runs_come_in_the_order_of_their_start_whatever_their_time_zone(load):
    load(name="b", started="2026-11-22T11:30:00+02:00")
    runs = load(name="a", started="2026-11-22T10:00:00+00:00")
    assert [run.started.isoformat() for run in runs] == ["2026-11-22T11:30:00+02:00", "2026-11-22T10:00:00+00:00"]


def test_a_job_without_records_has_no_runs(tmp_path):
    assert load_runs(str(tmp_path / "runs")) == []
