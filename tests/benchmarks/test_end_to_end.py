import os
import subprocess
import sys
from pathlib import Path

import end_to_end
import pytest
from process_tree import Done, Look, Watched, kind_of, progress_of

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "end_to_end.py"


@pytest.mark.soak
def test_a_quick_run_labels_every_span_each_way(test_data: Path, yunet_home: Path, tmp_path: Path):
    environment = {**os.environ, "LISER_TEST_DATA": str(test_data), "DEEPFACE_HOME": str(yunet_home)}
    environment["RAY_worker_niceness"] = "0"  # or the tests on Ray would go before it
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--results", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line.startswith("|")]
    spans = {row[0]: row[1] for row in rows if len(row) == 12}
    assert spans["the job"] == spans["plain pool, a process per core"] == "4"
    assert "Rows ended as labeled: 4," in run.stdout
    assert not list(tmp_path.iterdir())


def test_the_steady_state_leaves_out_start_and_end():
    done = [Done(10 + at, spans=at, video_s=2.0 * at) for at in range(1, 11)]
    looks = [
        Look(float(at), cpu_s={"driver": 1.0 * at, "children that decode": 2.0 * at}, memory=at, shared=0, root=1)
        for at in range(0, 30, 2)
    ]
    run = Watched(started=0.0, ended=29.0, looks=looks, done=done, value=None)
    assert run.steady() == (8.0, pytest.approx(24.0), 16.0, 8.0)
    assert run.steady_cpu_s() == {"driver": pytest.approx(8.0), "children that decode": pytest.approx(16.0)}
    assert (run.start_up_s, run.close_s, run.peak_memory) == (11.0, 9.0, 28)


def ran(seconds: float) -> Watched:
    """A way that labels ten seconds of video at an even pace, half of its time in the media stage."""
    done = [Done(seconds * at / 10, spans=at, video_s=1.0 * at) for at in range(1, 11)]
    look = Look(0.0, cpu_s={"driver": 0.0}, memory=1, shared=0, root=1)
    return Watched(0.0, seconds, [look], done, value={"busy_s": {"media": seconds / 2, "clips": seconds / 4}})


def test_of_several_rounds_the_one_with_the_median_share_of_its_pool_is_told():
    rounds = [{"job": ran(job_s), "pool": ran(pool_s)} for job_s, pool_s in ((20, 10), (15, 15), (20, 16))]
    assert [end_to_end.shares(found)["job_of_pool"][0] for found in rounds] == pytest.approx([0.5, 1.0, 0.8])
    assert end_to_end.middle(rounds) == 2
    assert "| 3 | 80% |" in end_to_end.round_table(rounds)


def test_progress_adds_up_in_whatever_order_a_pool_hands_its_results_over():
    finished = [(12.0, 2, 6.0), (11.0, 2, 5.9), (13.0, 1, 3.0)]
    assert progress_of(finished) == [Done(11.0, 2, 5.9), Done(12.0, 4, 11.9), Done(13.0, 5, 14.9)]


def test_processes_are_told_apart():
    assert kind_of(["ray::MapWorker(MapBatches(TeacherStage))"]) == "TeacherStage actors"
    assert (
        kind_of(["python", "-c", "from liser_ray.media.isolation import serve_forks; serve_forks()", "7"])
        == "children that decode"
    )
    assert kind_of(["ray::IDLE"]) == "Ray's other workers"
    assert kind_of(["/site-packages/ray/core/src/ray/raylet/raylet", "--node"]) == "Ray's own processes"
