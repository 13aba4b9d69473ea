"""How fast the runs were."""

from itertools import pairwise

import numpy as np
import pytest
from small_jobs import write_run

from liser_ray.labeling.page.figures import speed_figure, speeds_of
from liser_ray.labeling.run_card import load_runs

SAMPLES = [[10.0, 1, 16.0], [15.0, 1, 16.0], [40.0, 9, 144.0], [100.0, 12, 192.0]]


@pytest.mark.parametrize("n_points", [1, 3, 50])
def test_speeds_times_their_stretches_are_all_the_video_of_a_run(tmp_path, n_points):
    write_run(tmp_path, samples=SAMPLES)
    (run,) = load_runs(str(tmp_path / "runs"))
    ends, speeds = speeds_of(run, n_points)
    assert len(speeds) == min(n_points, len(SAMPLES))
    stretches_s = [(after - before).total_seconds() for before, after in pairwise(ends)]
    assert np.dot(stretches_s, speeds) == pytest.approx(192.0)
    assert ends[0].isoformat() == run.started


def test_runs_come_in_the_order_of_their_start_whatever_their_time_zone(tmp_path):
    write_run(tmp_path, name="b", started="2026-11-22T11:30:00+02:00")
    write_run(tmp_path, name="a", started="2026-11-22T10:00:00+00:00")
    started = [run.started for run in load_runs(str(tmp_path / "runs"))]
    assert started == ["2026-11-22T11:30:00+02:00", "2026-11-22T10:00:00+00:00"]


def test_a_job_without_samples_has_no_figure(tmp_path):
    assert load_runs(str(tmp_path / "runs")) == []
    write_run(tmp_path)
    assert not speed_figure(load_runs(str(tmp_path / "runs")))
