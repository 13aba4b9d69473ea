"""Workers, the driver and machines are killed while the job runs: nothing is lost, nothing is doubled."""

import contextlib
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import ray
from labeling.drivers import start_job
from labeling.tables import Row, assert_same_labels, rows_of
from ray.cluster_utils import Cluster

from liser_ray.labeling.config import LabelConfig, PoolConfig

pytestmark = pytest.mark.slow

POOL = PoolConfig(actors=1, num_cpus=0.5, batch_spans=1)  # a commit after each span


class OneMachine:
    """The Ray of the test run."""

    def __init__(self, address: str):
        self.address = address
        self.nodes = [ray._private.worker._global_node]


class Machines:
    """A head that has no CPUs and two nodes for the work, each a raylet with workers of its own."""

    def __init__(self):
        head = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False}
        self._cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
        self.address = self._cluster.address
        self.nodes = [self._cluster.add_node(num_cpus=2) for _ in range(2)]

    def lose_node(self, moments: random.Random) -> None:
        """A machine is gone from one moment to the next, and another one takes its place."""
        index = moments.randrange(2)
        self._cluster.remove_node(self.nodes[index], allow_graceful=False)
        self.nodes[index] = self._cluster.add_node(num_cpus=2)

    def close(self):
        self._cluster.shutdown()


class Attacked:
    """The job on these machines, into an output of its own, while it is under attack."""

    def __init__(self, config: LabelConfig, machines: Machines | OneMachine, output: Path):
        self._config = replace(config, output=str(output))
        self._machines = machines
        self._started = output.with_suffix(".started")  # ids of the spans that the media stage started with
        self._started.touch()
        self._in_flight: Counter[str] = Counter()  # how often a span was, when something was killed
        self._start()

    @property
    def running(self) -> bool:
        return self._driver.is_alive()

    def run(self, moments: random.Random) -> None:
        """Let it run until it commits something, or for some seconds."""
        before = self.committed()
        self.wait(lambda: self.committed() != before, moments.uniform(1, 12))
        time.sleep(moments.uniform(0, 0.5))

    def wait(self, until: Callable[[], bool], limit_s: float = math.inf) -> None:
        """Let it run until something is so."""
        limit = time.monotonic() + limit_s
        while self.running and not until() and time.monotonic() < limit:
            time.sleep(0.05)

    def lose(self, what: str, moments: random.Random) -> None:
        """Lose the driver (and start it again), a node, or the workers of a stage."""
        safe = self.committed()
        print(f"{what} killed with {len(safe)} spans committed")
        if what == "driver":
            self._driver.kill()
            self._driver.join()
        elif what == "node":
            self._machines.lose_node(moments)
        else:
            workers = []
            while self.running and not (workers := self._workers(what)):
                time.sleep(0.2)  # the driver was lost only now
            for process in workers:
                process.kill()
        self._in_flight.update(set(self.started_with()) - safe)
        if what == "driver":
            self._start()

    def end(self) -> int | None:
        """Its exit code, when it has one."""
        self._driver.join()
        return self._driver.exitcode

    def check(self, rows: dict[tuple[str, float], Row]) -> None:
        """At its end the table is that of an undisturbed run, and only what was in flight was worked on again."""
        assert self.end() == 0
        assert_same_labels(rows_of(Path(self._config.output, "labels")), rows)
        for span_id, times in Counter(self.started_with()).items():
            assert times <= 1 + self._in_flight[span_id]

    def _workers(self, stage: str) -> list[psutil.Process]:
        """The processes of a stage's pool."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._machines.nodes}
        found = []
        for process in psutil.process_iter(["ppid"]):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.info["ppid"] in raylets and stage in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def _start(self) -> None:
        self._driver = start_job(self._config, self._machines.address, started=self._started)

    def started_with(self) -> list[str]:
        return self._started.read_text().split()

    def committed(self) -> set[str]:
        files = Path(self._config.output, "checkpoint").rglob("?*[0-9].parquet")
        return {span_id for path in files for span_id in pq.read_table(path)["span_id"].to_pylist()}


@pytest.fixture
def settings(labeled, label_config):
    """For the corpus, in small steps; the output is to be set."""
    return replace(
        label_config, input=labeled.plan.input_uri, media_pool=POOL, teacher_pools={"clips": POOL, "sound": POOL}
    )


def test_a_worker_killed_and_the_driver_within_a_part_and_between_two_it_ends_with_the_same_table(
    quick_config, quick_rows, ray_session, tmp_path
):
    moments = random.Random(0)
    plan = replace(quick_config.plan, spans_per_part=3)
    settings = replace(quick_config, plan=plan, media_pool=POOL, teacher_pools={"sound": POOL})
    job = Attacked(settings, OneMachine(ray_session), tmp_path / "out")
    job.wait(lambda: len(job.started_with()) > 1)
    job.lose("MediaStage", moments)
    before = job.committed()
    job.wait(lambda: job.committed() > before)
    assert job.running
    assert 0 < len(job.committed()) < 3
    job.lose("driver", moments)
    job.wait(lambda: len(job.committed()) == 3)
    job.lose("driver", moments)
    assert len(job.committed()) == 3 < len(quick_rows)
    assert {path.parent.name for path in (tmp_path / "out/labels").rglob("*.parquet")} == {"part-00001"}
    job.check(quick_rows)


@pytest.mark.soak
def test_a_part_that_a_second_cluster_takes_by_mistake_has_each_span_once_in_the_end(
    settings, trouble, few_rows, ray_session, tmp_path
):
    settings = replace(settings, input=str(trouble / "few.parquet"))
    first = Attacked(settings, OneMachine(ray_session), tmp_path / "out")
    first.wait(lambda: len(first.committed()) > 0)
    assert first.running
    second = Attacked(settings, OneMachine(ray_session), tmp_path / "out")
    print("exit codes", first.end(), second.end())
    again = Attacked(settings, OneMachine(ray_session), tmp_path / "out")
    assert again.end() == 0
    assert_same_labels(rows_of(tmp_path / "out/labels"), few_rows)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_killed_at_ten_random_moments_machines_included_it_ends_with_the_same_table(settings, rows, tmp_path):
    settings = replace(settings, plan=replace(settings.plan, spans_per_part=9))
    kills = ["driver"] * 3 + ["node"] * 3 + ["MediaStage"] + ["TeacherStage"] * 3
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with contextlib.closing(Machines()) as machines:
        jobs = (Attacked(settings, machines, tmp_path / str(number)) for number in itertools.count())
        job = next(jobs)
        for kill in moments.sample(kills, len(kills)):
            job.run(moments)
            if not job.running:  # it was done before its ten kills
                job.check(rows)
                job = next(jobs)
                job.run(moments)
            job.lose(kill, moments)
        job.check(rows)
