"""The command itself: what is wrong with a command is one clear message, before any work starts."""

import subprocess
import sys
from pathlib import Path

import pytest
from media_files import moving_gradient, voice_like, write_video
from small_teachers import SmallTeachers, make_teachers

JOB = Path(__file__).parents[2] / "jobs/label_corpus.py"


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> SmallTeachers:
    return make_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "one.mp4", moving_gradient, 10, duration_s=20.0, audio=voice_like)
    (folder / "text.mp4").write_text("no video")
    (folder / "notes.txt").write_text("notes")
    return folder


def test_the_script_runs_from_anywhere(tmp_path):
    done = subprocess.run([sys.executable, str(JOB), "--print_config"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "span_seconds: 16.0" in done.stdout


def test_help_names_every_field_and_its_unit(run):
    _, text, _ = run("--help")
    for words in (
        "--measure.gpus",
        "--input",
        "--plan.span_seconds",
        "--media.faces.detect_every",
        "--retry_failed",
        "wall-clock limit",
    ):
        assert words in text


def test_a_dry_run_prints_hours_spans_and_size_and_needs_no_teachers(run, videos, tmp_path):
    code, text, _ = run("--input", videos, "--output", tmp_path / "out", "--dry_run")
    assert code == 0
    assert "2 recordings · 0.3 min to label · 3 spans · 1 unreadable · about 364 kB out" in text
    assert "unreadable: not_media 1" in text
    assert "1 other files left alone" in text
    assert not (tmp_path / "out/labels").exists()


def test_settings_come_from_a_file_and_are_overridden(run, videos, tmp_path):
    (tmp_path / "label.yaml").write_text(f"input: {videos}\noutput: {tmp_path / 'out'}\nplan:\n  span_seconds: 8\n")
    assert "4 spans" in run("--config", tmp_path / "label.yaml", "--dry_run")[1]
    assert "6 spans" in run("--config", tmp_path / "label.yaml", "--plan.span_seconds", 4, "--dry_run")[1]


def missing_weights(teachers, videos, output):
    return [*teachers.arguments, "--video_teacher.weights", "/nowhere/s2d.pth", "--input", videos, "--output", output]


def no_speech_teacher(teachers, videos, output):
    return [*teachers.arguments[:4], "--input", videos, "--output", output]


def missing_input(teachers, videos, output):
    return [*teachers.arguments, "--input", "/nowhere/videos", "--output", output]


def unwritable_output(teachers, videos, output):
    return [*teachers.arguments, "--input", videos, "--output", videos / "text.mp4" / "labels"]


def unknown_detector(teachers, videos, output):
    return [*teachers.arguments, "--media.faces.detector", "oracle", "--input", videos, "--output", output]


def bad_value(teachers, videos, output):
    return [*teachers.arguments, "--media.min_speech_fraction", 3, "--input", videos, "--output", output]


def measured_gpus_without_cpus(teachers, videos, output):
    return [*teachers.arguments, "--measure", "--measure.gpus", 8, "--input", videos, "--output", output]


def a_cluster_that_is_not_measured(teachers, videos, output):
    return [*teachers.arguments, "--measure.nodes", 8, "--input", videos, "--output", output]


def unknown_option(teachers, videos, output):
    return [*teachers.arguments, "--detektor", "yunet", "--input", videos, "--output", output]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing_weights, ["/nowhere/s2d.pth", "--video_teacher.weights", "cyinen/S2D"]),
        (no_speech_teacher, ["--speech_teachers"]),
        (missing_input, ["/nowhere/videos"]),
        (unwritable_output, ["Can't write to", "text.mp4"]),
        (unknown_detector, ["oracle", "yunet"]),
        (bad_value, ["min_speech_fraction", "between 0 and 1"]),
        (measured_gpus_without_cpus, ["--measure.gpus needs --measure.cpus"]),
        (a_cluster_that_is_not_measured, ["need --measure"]),
        (unknown_option, ["detektor"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, make, words, teachers, videos, tmp_path):
    arguments = make(teachers, videos, tmp_path / "out")
    if make is not unknown_detector:
        arguments += ["--media.faces.detector", "opencv"]
    refused(words, *arguments)
    assert not (tmp_path / "out/labels").exists()
