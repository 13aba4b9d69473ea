"""The command itself: settings of the labeling job, its own, and wrong ones."""

from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "jobs/calibrate.py"


def test_help_teaches(run):
    _, text, _ = run("--help")
    for words in (
        "--config label.yaml --config calibrated.yaml",
        "ray job submit",
        "--spans",
        "--measure_s",
        "--prices.gpu_hour",
    ):
        assert words in text


def test_it_takes_the_settings_of_the_labeling_job(run):
    code, text, _ = run("--config", JOB.parents[1] / "configs/cluster/label.yaml", "--print_config")
    assert code == 0
    assert "input: s3://my-bucket/videos" in text
    assert "spans: 24" in text


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["--spans is 0", "1 or more"], ["--spans", 0]),
        (["--measure_s is 0", "above 0"], ["--measure_s", 0]),
        (["--gpus needs --cpus"], ["--gpus", 8]),
        (["must be 0 (as the cluster has them) or more"], ["--nodes", -1]),
        (["No speech teacher"], []),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, words, arguments, tmp_path):
    always = ["--input", tmp_path, "--output", tmp_path / "out", "--media.faces.detector", "opencv"]
    refused(words, *always, *arguments)
    assert not list(tmp_path.glob("out/*"))
