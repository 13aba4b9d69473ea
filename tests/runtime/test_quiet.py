"""What other people's packages do by themselves, and must not."""

import os
import subprocess
import sys

import ray

from liser_ray.runtime.cluster import hush_restarts


def test_models_are_run_without_telling_their_runtime_s_maker(tmp_path):
    """ONNX Runtime's telemetry would leave an identifier of the machine in the home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    run = [sys.executable, "-c", "import liser_ray.prediction.student, onnxruntime"]
    subprocess.run(run, env=environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}, check=True)
    assert not [*tmp_path.iterdir()]


class Restartable:
    def __init__(self, argument):
        pass


def test_what_ray_says_of_restarts_is_not_heard_and_all_else_is(ray_session, capfd):
    hush_restarts()
    print("a warning", file=sys.stderr)
    actor = ray.remote(num_cpus=0, max_restarts=1)(Restartable).remote(ray.put(None))
    ray.kill(actor)
    assert capfd.readouterr().err == "a warning\n"
