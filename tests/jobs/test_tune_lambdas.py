import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from small_labels import speech_teacher, write_labels
from small_search import by_hand

from liser_ray.corpora import ravdess
from liser_ray.corpora.folds import folds_of
from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.search.trial import Run, TrialPlan, read_progress
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.job import check, make_inputs

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs/tune_lambdas.py"


def test_help_names_every_field_and_its_unit(run):
    _, text, _ = run("--help")
    for words in ("--space", "--population", "--first_folds", "--scheduler", "--train.learning_rate", "best.yaml"):
        assert words in text
    assert "\n  python jobs/tune_lambdas.py --output out/search --resume\n" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--labeled"]),
        (["--resume"], ["no search to go on with", "--output"]),
        (["--labeled", "x.csv", "--space", "loss.lambda=1"], ["no such field", "loss.lambda_sd"]),
        (["--population", 4, "--workers", 1], ["not both"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, tmp_path, arguments, words):
    refused(words, "--output", tmp_path / "out", *arguments)


@pytest.fixture(scope="module")
def some_ravdess(test_data, tmp_path_factory):
    """One recording of each emotion by each actor."""
    folder = tmp_path_factory.mktemp("ravdess")
    for emotion in range(1, 9):
        for file in sorted((test_data / "ravdess").rglob(f"03-01-{emotion:02}-01-01-01-*.*")):
            (folder / file.name).symlink_to(file)
    return f"ravdess:{folder}"


@pytest.fixture(scope="module")
def labels(some_ravdess, tmp_path_factory):
    """A generated labels table with a teacher for each fold."""
    folder = tmp_path_factory.mktemp("labels")
    teachers = [
        speech_teacher(f"fold_{fold.index}", ravdess.CORPUS.labels, fold.index, sorted(fold.train))
        for fold in folds_of(read_labeled_set(some_ravdess))
    ]
    write_labels(folder, rows=8, teachers=teachers, lengths_s=(3.0, 4.0))
    return str(folder)


@pytest.mark.slow
def test_the_papers_grid_on_real_speech_killed_and_resumed(some_ravdess, labels, tmp_path, ray_session):
    output = tmp_path / "search"
    # Two steps in each of the 125 trainings.
    train = TrainConfig(epochs=1, batch_size=8, labeled_fraction=0.05)
    options = ["--labeled", some_ravdess, "--unlabeled", labels]
    for name in ("epochs", "batch_size", "labeled_fraction"):
        options += [f"--train.{name}", getattr(train, name)]

    def start(*arguments):
        environment = os.environ | {"RAY_ADDRESS": ray_session}
        command = [sys.executable, JOB, "--output", output, *arguments]
        return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    process = start(*options)
    while len(list(output.glob("trials/*.json"))) < 5:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {file: file.read_bytes() for file in output.glob("trials/*.json")}
    assert 5 <= len(finished) < 25

    process = start("--resume", "--max_concurrent_trials", 1)  # fewer processes to start
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert all(file.read_bytes() == content for file, content in finished.items())  # with the seconds it took
    table = pd.read_parquet(output / "trials.parquet")
    assert table["status"].tolist() == ["done"] * 25
    values = [0.1, 0.5, 1.0, 5.0, 10.0]
    pairs = table[["loss.lambda_sd", "loss.lambda_vd"]].to_numpy().tolist()
    assert pairs == [[sd, vd] for sd in values for vd in values]
    assert f"λ_sd {table['loss.lambda_sd'][table['validation_uar'].idxmax()]:g}" in told

    # The same table as of trainings that were never disturbed.
    student = StudentConfig(some_ravdess, labels, train=train)
    plan = TrialPlan(student, tuple(Run(fold, 0) for fold in range(5)), False, str(tmp_path / "here"))
    settings = [dict(zip(("loss.lambda_sd", "loss.lambda_vd"), pairs[number], strict=True)) for number in (0, 7, 24)]
    results = by_hand(plan, settings, make_inputs(student, check(student)), tmp_path / "here")
    for number, setting, result in zip((0, 7, 24), settings, results, strict=True):
        assert [run["validation_uar"] for run in table["runs"][number]] == [run.validation_uar for run in result.runs]
        # After two steps the scores are much the same, but not the losses.
        there, here = (read_progress(str(folder), setting).histories for folder in (output, tmp_path / "here"))
        assert [there[run][0].loss for run in plan.runs] == pytest.approx([here[run][0].loss for run in plan.runs])
