"""A cluster that loses machines, workers and the driver while it labels: nothing is lost, nothing is doubled."""

import random
import time
from collections import Counter
from dataclasses import replace

import psutil
import pyarrow.parquet as pq
import pytest
from labeling.drivers import start_job
from labeling.tables import assert_same_labels, rows_of
from ray.cluster_utils import Cluster

from liser_ray.labeling.config import PoolConfig

pytestmark = pytest.mark.slow

KILLS = ["driver"] * 3 + ["node"] * 3 + ["MediaStage", "VideoStage", "SpeechStage", "SpeechStage"]
POOL = PoolConfig(actors=1, num_cpus=0.5, batch_spans=1)  # a commit after each span


class Machines:
    """A head that has no CPUs and two nodes for the work, each a raylet with workers of its own."""

    def __init__(self):
        self._cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 0})
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
        return [
            process
            for process in psutil.process_iter(["name", "ppid", "cmdline"])
            if stage in " ".join(process.info["cmdline"] or ()) and process.info["ppid"] in raylets
        ]

    def close(self):
        self._cluster.shutdown()


@pytest.fixture
def machines():
    cluster = Machines()
    yield cluster
    cluster.close()


@pytest.mark.timeout(1200)
def test_killed_at_ten_random_moments_it_ends_with_the_same_table(labeled, label_config, rows, machines, tmp_path):
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    kills = moments.sample(KILLS, len(KILLS))
    output = tmp_path / "out"
    config = replace(
        label_config,
        input=labeled.plan.input_uri,
        output=str(output),
        media_pool=POOL,
        video_pool=POOL,
        speech_pool=POOL,
    )

    begun = tmp_path / "begun"
    begun.touch()

    def committed() -> set[str]:
        files = (output / "checkpoint").glob("?*[0-9].parquet")
        return {span_id for path in files for span_id in pq.read_table(path)["span_id"].to_pylist()}

    job, allowed = start_job(config, machines.address, begun=begun), Counter()
    for kill in kills:
        before = committed()
        limit = time.monotonic() + moments.uniform(1, 12)
        while job.is_alive() and committed() == before and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5))
        assert job.is_alive(), f"all was done before {kill} was killed"
        safe = committed()
        print(f"{kill} killed with {len(safe)} of {len(rows)} spans committed")
        if kill == "driver":
            job.kill()
            job.join()
        elif kill == "node":
            machines.lose_node(moments)
        else:
            for process in machines.workers(kill):
                process.kill()
        allowed.update(set(begun.read_text().split()) - safe)  # these were in flight
        if kill == "driver":
            job = start_job(config, machines.address, begun=begun)
    job.join()
    assert job.exitcode == 0
    assert_same_labels(rows_of(output / "labels"), rows)
    for span_id, times in Counter(begun.read_text().split()).items():
        assert times <= 1 + allowed[span_id], "work was done again that was not in flight"
