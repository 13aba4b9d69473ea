"""A cluster that loses machines, workers and the driver while it labels: nothing is lost, nothing is doubled."""

import contextlib
import itertools
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from labeling.drivers import start_job
from labeling.tables import Row, assert_same_labels, rows_of
from ray.cluster_utils import Cluster

from liser_ray.labeling.config import LabelConfig, PoolConfig

pytestmark = pytest.mark.slow

KILLS = ["driver"] * 3 + ["node"] * 3 + ["MediaStage", "VideoStage", "SpeechStage", "SpeechStage"]
POOL = PoolConfig(actors=1, num_cpus=0.5, batch_spans=1)  # a commit after each span


class Machines:
    """A head that has no CPUs and two nodes for the work, each a raylet with workers of its own."""

    def __init__(self):
        head = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False}
        self._cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
        self.address = self._cluster.address
        self._nodes = [self._cluster.add_node(num_cpus=2) for _ in range(2)]

    def lose_node(self, moments: random.Random) -> None:
        """A machine is gone from one moment to the next, and another one takes its place."""
        index = moments.randrange(2)
        self._cluster.remove_node(self._nodes[index], allow_graceful=False)
        self._nodes[index] = self._cluster.add_node(num_cpus=2)

    def workers(self, stage: str) -> list[psutil.Process]:
        """The processes of a stage's pool."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._nodes}
        children = [process for process in psutil.process_iter(["ppid"]) if process.info["ppid"] in raylets]
        found = []
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                if stage in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def close(self):
        self._cluster.shutdown()


@pytest.fixture
def machines():
    cluster = Machines()
    yield cluster
    cluster.close()


class Attacked:
    """The job on these machines, into an output of its own, while it is under attack."""

    def __init__(self, config: LabelConfig, machines: Machines, output: Path):
        self._config = replace(config, output=str(output))
        self._machines = machines
        self._begun = output.with_suffix(".begun")  # ids of the spans that the media stage began with
        self._begun.touch()
        self._in_flight: Counter[str] = Counter()  # how often a span was, when something was killed
        self._start()

    @property
    def running(self) -> bool:
        return self._driver.is_alive()

    def run(self, moments: random.Random) -> None:
        """Let it run until it commits something, or for some seconds."""
        before, limit = self._committed(), time.monotonic() + moments.uniform(1, 12)
        while self.running and self._committed() == before and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5))

    def lose(self, what: str, moments: random.Random) -> None:
        """Lose the driver (and start it again), a node, or the workers of a stage."""
        safe = self._committed()
        print(f"{what} killed with {len(safe)} spans committed")
        if what == "driver":
            self._driver.kill()
            self._driver.join()
        elif what == "node":
            self._machines.lose_node(moments)
        else:
            workers = []
            while self.running and not (workers := self._machines.workers(what)):
                time.sleep(0.2)  # the driver was lost only now
            for process in workers:
                process.kill()
        self._in_flight.update(set(self._begun_with()) - safe)
        if what == "driver":
            self._start()

    def check(self, rows: dict[tuple[str, float], Row]) -> None:
        """At its end the table is that of an undisturbed run, and only what was in flight was worked on again."""
        self._driver.join()
        assert self._driver.exitcode == 0
        assert_same_labels(rows_of(Path(self._config.output, "labels")), rows)
        for span_id, times in Counter(self._begun_with()).items():
            assert times <= 1 + self._in_flight[span_id]

    def _start(self) -> None:
        self._driver = start_job(self._config, self._machines.address, begun=self._begun)

    def _begun_with(self) -> list[str]:
        return self._begun.read_text().split()

    def _committed(self) -> set[str]:
        files = Path(self._config.output, "checkpoint").glob("?*[0-9].parquet")
        return {span_id for path in files for span_id in pq.read_table(path)["span_id"].to_pylist()}


@pytest.mark.timeout(1200)
def test_killed_at_ten_random_moments_it_ends_with_the_same_table(labeled, label_config, rows, machines, tmp_path):
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    pools = {"media_pool": POOL, "video_pool": POOL, "speech_pool": POOL}
    config = replace(label_config, input=labeled.plan.input_uri, **pools)
    jobs = (Attacked(config, machines, tmp_path / str(number)) for number in itertools.count())
    job = next(jobs)
    for kill in moments.sample(KILLS, len(KILLS)):
        job.run(moments)
        if not job.running:  # it was done before its ten kills
            job.check(rows)
            job = next(jobs)
            job.run(moments)
        job.lose(kill, moments)
    job.check(rows)
