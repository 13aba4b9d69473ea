"""The labeling job on a cluster, as its users do it: ``ray start --head``, ``ray job submit``, ``ray job stop``."""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from free_ports import free_ports
from ray.job_submission import JobSubmissionClient
from talking_heads import write_talking_head

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling import monitor
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.planning import plan_corpus

pytestmark = pytest.mark.slow

# Of a node as deploy/install.sh leaves it: all that the package needs, and not the package, which comes with each job.
WITHOUT_THE_PACKAGE = """
import importlib.metadata
import sys
sys.meta_path[:] = [one for one in sys.meta_path if "liser_ray" not in getattr(one, "__module__", "")]
from_name = importlib.metadata.Distribution.from_name
def other_than_ours(name):
    if name == "liser-ray":
        raise importlib.metadata.PackageNotFoundError(name)
    return from_name(name)
importlib.metadata.Distribution.from_name = other_than_ours
"""

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SUBMIT = ["job", "submit", "--working-dir", "."]


class HeadNode:
    """A cluster of one node in a temporary folder, with token authentication as Ray has it by default."""

    def __init__(self):
        # Not pytest's folder: the names of Ray's sockets may not be longer than 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="liser-ray-"))
        (self._folder / "sitecustomize.py").write_text(WITHOUT_THE_PACKAGE)
        port, dashboard, client, agent, self._metrics = free_ports(5)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self._folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "RAY_worker_niceness": "0",
            "RAY_JOB_STOP_WAIT_TIME_S": "60",  # instead of 3, after which a job is killed that is still closing
        }
        settings = {
            "port": port,
            "dashboard-port": dashboard,
            "ray-client-server-port": client,
            "dashboard-agent-listen-port": agent,
            "metrics-export-port": self._metrics,
            "num-cpus": 4,
            "temp-dir": self._folder,
        }
        self._log = (self._folder / "start.log").open("w")
        self._process = subprocess.Popen(
            ["ray", "start", "--head", "--block", *(f"--{name}={value}" for name, value in settings.items())],
            env=self.environment | {"RAY_USAGE_STATS_ENABLED": "0"},
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self.jobs = self._client_when_up()
        except BaseException:
            self.close()
            raise

    def ray(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the ``ray`` command in the repository, as a user would."""
        command = ["ray", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=800)

    def metrics(self) -> str:
        """What Prometheus would read from the node."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def close(self) -> None:
        everything = psutil.Process(self._process.pid)
        for process in [*everything.children(recursive=True), everything]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(30)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _client_when_up(self) -> JobSubmissionClient:
        """What `ray job stop` and its like call; a command takes seconds to start."""
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        deadline = time.monotonic() + 120
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError, RuntimeError):
                client = JobSubmissionClient(self.environment["RAY_API_SERVER_ADDRESS"], headers=headers)
                client.submit_job(entrypoint="true")  # some seconds later than the dashboard
                return client
            time.sleep(0.5)
        raise RuntimeError((self._folder / "start.log").read_text())


@contextlib.contextmanager
def _never_read(recording: Path) -> Iterator[None]:
    """A recording of which a reader waits for the first byte."""
    aside = recording.with_suffix(".aside")
    recording.rename(aside)
    os.mkfifo(recording)
    try:
        yield
    finally:
        aside.replace(recording)


@pytest.fixture(scope="module")
def head_node():
    node = HeadNode()
    yield node
    node.close()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A settings file for three videos, with the output that it names."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "videos").mkdir()
    for number in range(3):
        write_talking_head(folder / f"videos/{number}.mp4", 6.4, seed=number)
    one_span = {"actors": 1, "num_cpus": 0.5, "batch_spans": 1}
    values = {
        "input": str(folder / "videos"),
        "output": str(folder / "labels"),
        "teachers": {"loudness": {"kind": "tests.toys.loudness"}},  # which comes with the job, as a user's own would
        "plan": {"span_seconds": 3.2},
        "media": {"faces": {"detector": "opencv"}},
        "media_pool": one_span,
        "teacher_pools": {"sound": one_span},
    }
    path = folder / "label.json"  # which is YAML too
    path.write_text(json.dumps(values))
    return path, folder / "labels"


def test_submitted_stopped_and_submitted_again_every_span_is_labeled_once(head_node, settings):
    path, output = settings
    plan_corpus(parse_settings(LabelConfig, "", ["--config", str(path)]))
    (planned,) = output.glob("plan/*/*.parquet")
    job = [*SUBMIT, "--submission-id", "first", "--no-wait", "--", "python", "jobs/label_corpus.py", "--config", path]
    # Or the last span may be labeled in the moment between the first one and the stop.
    with _never_read(Path(pq.read_table(planned)["uri"][-1].as_py())):
        assert head_node.ray(*job).returncode == 0
        while not list(output.glob("checkpoint/*/*.parquet")):
            assert not head_node.jobs.get_job_status("first").is_terminal(), head_node.jobs.get_job_logs("first")
            time.sleep(0.1)
        head_node.jobs.stop_job("first")
        while not (status := head_node.jobs.get_job_status("first")).is_terminal():
            time.sleep(0.1)
    assert status == "STOPPED"
    assert "Interrupted. The same command goes on where it was." in head_node.jobs.get_job_logs("first")
    (record,) = (json.loads(one.read_text()) for one in output.glob("runs/*.json"))
    assert not record["finished"]

    again = head_node.ray(*SUBMIT, "--", "python", "jobs/label_corpus.py", "--config", path)
    told = again.stdout + again.stderr
    assert again.returncode == 0, told
    assert "6/6 spans (100%) · 0:00 left" in told
    assert re.search(r"media +1 worker +· +\d+% busy", told)
    ids = [one for file in output.glob("labels/*/*.parquet") for one in pq.read_table(file)["span_id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 6
    run_card = json.loads((output / "run.json").read_text())
    assert run_card["results"]["throughput"]["runs"] == 2
    assert run_card["results"]["throughput"]["video_hours_per_cpu_hour"] > 0


def test_a_job_with_a_mistake_ends_with_its_exit_code_and_one_message(head_node, settings):
    mistake = ("--media.max_other_faces", "7")
    job = head_node.ray(*SUBMIT, "--", "python", "jobs/label_corpus.py", "--config", settings[0], *mistake)
    told = job.stdout + job.stderr
    assert job.returncode == 1
    assert "failed with exit code 2" in told
    assert "error: max_other_faces is 7.0: give a share between 0 and 1." in told
    assert "Traceback" not in told


def test_the_dashboard_for_grafana_asks_for_metrics_that_there_are(head_node, settings):
    exported = set(re.findall(r"^(ray_\w+)", head_node.metrics(), re.MULTILINE))
    panels = json.loads((ROOT / "deploy/grafana/labeling.json").read_text())["panels"]
    asked = {name for panel in panels for one in panel["targets"] for name in re.findall(r"ray_\w+", one["expr"])}
    # What the job shows of its stages is there for as long as the job is; the others are not on a node like this one.
    of_a_running_job = {f"ray_{name}" for name in monitor._GAUGES}
    elsewhere = {"ray_node_gpus_utilization", "ray_cluster_pending_nodes", "ray_cluster_failed_nodes"}
    assert asked - of_a_running_job - elsewhere <= exported
    assert {name for name in asked if "liser" in name} >= of_a_running_job
