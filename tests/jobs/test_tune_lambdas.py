import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from small_search import by_hand, without_time

from liser_ray.search.config import SearchConfig
from liser_ray.search.results import read_results
from liser_ray.search.trial import TrialPlan
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.job import check, make_inputs

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs/tune_lambdas.py"


@pytest.mark.soak
def test_a_grid_killed_and_resumed(tones, tone_labels, tmp_path, ray_session):
    output = tmp_path / "search"
    train = TrainConfig(epochs=2, batch_size=10)
    values = [0.1, 1.0, 10.0]
    options = ["--labeled", tones, "--unlabeled", tone_labels, "--train.epochs", 2, "--train.batch_size", 10]
    options += ["--space", *(f"loss.lambdas.{one}={','.join(map(str, values))}" for one in ("speech", "face"))]

    def start(*arguments):
        environment = os.environ | {"RAY_ADDRESS": ray_session}
        command = [sys.executable, JOB, "--output", output, *arguments]
        return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    process = start(*options, "--checkpoint_every_s", 0)
    while len(list(output.glob("trials/*.json"))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {file: file.read_bytes() for file in output.glob("trials/*.json")}
    assert 2 <= len(finished) < 9

    process = start("--resume", "--max_concurrent_trials", 1)  # fewer processes to start
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert all(file.read_bytes() == content for file, content in finished.items())  # with the seconds it took
    assert not list(output.glob("trials/*.pt"))
    table = pd.read_parquet(output / "trials.parquet")
    assert table["status"].tolist() == ["done"] * 9
    assert table[["loss.lambdas.speech", "loss.lambdas.face"]].to_numpy().tolist() == [
        [speech, face] for speech in values for face in values
    ]
    assert f"λ_speech {table['loss.lambdas.speech'][table['validation_uar'].idxmax()]:g}" in told

    # What was under way is as of trainings that were never disturbed.
    config = SearchConfig(tones, tone_labels, train=train)
    inputs = make_inputs(config, check(config))
    plan = TrialPlan(config, ((0, 0), (1, 0)), str(tmp_path / "here"))
    for result in list(read_results(str(output / "trials")).values())[len(finished) :][:2]:
        assert without_time(result.runs) == by_hand(plan, result.setting, inputs)
