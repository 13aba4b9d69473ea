import pytest

from liser_ray.labeling import monitor
from liser_ray.labeling.config import PoolConfig, Pools, Prices
from liser_ray.labeling.monitor import Monitor
from liser_ray.labeling.progress import Counts, Work
from liser_ray.labeling.run_card import RunRecord, load_runs, throughput

POOLS = Pools(PoolConfig(4, 1, 0, 2), {"clips": PoolConfig(1, 0.5, 0.8, 4), "sound": PoolConfig(2, 0.5, 0.2, 4)})


class Job:
    """A job that has done what its test says."""

    def __init__(self, folder):
        self.counts = Counts()
        self.monitor = Monitor(lambda: self.counts, POOLS, str(folder))

    def at(self, elapsed_s, spans=0, **work):
        self.counts = Counts({("labeled", ""): spans} if spans else {}, 16.0 * spans, work)
        return self.monitor.look(elapsed_s)


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "cluster_size", lambda: (8.0, 1.0))
    return Job(tmp_path / "runs")


def test_the_stage_that_is_always_busy_is_the_bottleneck(job):
    _, text = job.at(30, 10, media=Work(12, 0, 110.0), clips=Work(10, 0, 6.0))
    assert text.startswith("0.33 spans/s · 5.3 video-h/h · 10 labeled")
    assert text.endswith("bottleneck: media")
    assert job.monitor.busy_shares() == {
        "media": pytest.approx(110 / (4 * 30)),
        "clips": pytest.approx(0.2),
        "sound": 0,
    }


def test_only_the_last_half_minute_counts_and_at_the_start_nothing_holds_anything_up(job):
    assert "bottleneck" not in job.at(5, media=Work(1, 0, 5.0))[1]
    job.at(30, media=Work(12, 0, 110.0))
    job.at(60, media=Work(12, 0, 112.0), clips=Work(12, 0, 29.0))
    assert job.monitor.bottleneck() == "clips"


def test_before_anything_is_done_the_workers_are_starting(job):
    assert job.at(5) == (0, "the workers are starting")
    assert job.at(6, 3)[1].startswith("0.5 spans/s")  # of the plan's failed ones, on which no stage works


def test_a_log_has_a_line_for_each_stage(job):
    job.at(30, 5, media=Work(20, 4, 115.0), clips=Work(10, 1, 6.0, 300, 400), sound=Work(9, 0, 3.0))
    media, video, speech = job.monitor.stage_lines()
    assert " ".join(media.split()) == "media 4 workers · 96% busy · 0.67 spans/s · 0 waiting <- bottleneck"
    assert "6 waiting · batches 75% full" in video  # of 20 spans 4 came to their end before
    assert "0 waiting" in speech


def test_a_run_leaves_its_record_when_it_is_killed_and_says_when_it_has_finished(job, tmp_path):
    with job.monitor:
        job.at(30, 10, media=Work(12, 0, 110.0))
        job.at(60, 25, media=Work(30, 0, 220.0))
        (record,) = load_runs(str(tmp_path / "runs"))
        job.at(61, 26)
    (finished,) = load_runs(str(tmp_path / "runs"))
    assert (record.finished, finished.finished) == (False, True)
    assert record.samples == [[30, 10, 160], [60, 25, 400]]
    assert finished.samples == [[30, 10, 160], [61, 26, 416]]
    assert record.stages["media"] == {
        **{"actors": 4, "num_cpus": 1, "num_gpus": 0},
        **{"spans": 30, "ended": 0, "busy_s": 220, "windows": 0, "slots": 0},
    }
    assert (record.cpu_seconds, record.gpu_seconds) == (480, 60)


def test_a_record_that_can_not_be_written_costs_nothing_else(job, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(monitor, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        assert job.at(30, 10)[0] == 10
    assert "No space left on device" in caplog.text
    assert job.at(60, 25)[0] == 25
    assert load_runs(str(tmp_path / "runs"))[0].samples == [[30, 10, 160], [60, 25, 400]]


def test_the_record_of_a_long_run_stays_small(job, tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "_MAX_SAMPLES", 10)
    with job.monitor:
        for k in range(1, 200):
            job.at(30.0 * k, k)
    (record,) = load_runs(str(tmp_path / "runs"))
    assert 5 <= len(record.samples) <= 10
    assert record.samples[-1] == [30 * 199, 199, 16 * 199]


def test_throughput_and_cost_are_of_all_runs_together():
    killed = RunRecord("2026-01-01", 1800.0, False, {}, 18_000.0, 1800.0, [(1800.0, 100, 3600.0)])
    second = RunRecord("2026-01-02", 5400.0, True, {}, 54_000.0, 5400.0, [(60.0, 1, 9.0), (5400.0, 400, 10_800.0)])
    result = throughput([killed, second], Prices(cpu_hour=0.05, gpu_hour=1.0))
    rates = {"video_hours_per_hour": 2, "video_hours_per_cpu_hour": 0.2, "video_hours_per_gpu_hour": 2}  # 20 CPU-hours
    assert result.items() >= {"video_hours": 4, "cost": 3, "cost_per_1000_video_hours": 750, **rates}.items()


def test_what_is_not_known_is_not_invented():
    on_cpu = RunRecord("2026-01-01", 3600.0, True, {}, 7200.0, 0.0, [(3600.0, 10, 1800.0)])
    result = throughput([on_cpu], Prices())
    assert result["video_hours_per_gpu_hour"] is result["cost_per_1000_video_hours"] is None
    assert throughput([], Prices(1, 1))["video_hours_per_hour"] is None
