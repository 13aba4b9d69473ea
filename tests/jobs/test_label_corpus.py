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


def test_a_dry_run_prints_hours_spans_and_size_and_needs_no_teachers(run, videos, tmp_path):
    code, text, _ = run("label_corpus", "--input", videos, "--output", tmp_path / "out", "--dry_run")
    assert code == 0
    assert "2 recordings · 20 s to label · 3 spans · 1 unreadable · about 363.1 kB out" in text
    assert "unreadable: not_media 1" in text
    assert "1 other files left alone" in text
    assert not (tmp_path / "out/labels").exists()


def test_settings_come_from_a_file_and_are_overridden(run, videos, tmp_path):
    (tmp_path / "label.yaml").write_text(f"input: {videos}\noutput: {tmp_path / 'out'}\nplan:\n  span_seconds: 8\n")
    assert "4 spans" in run("label_corpus", "--config", tmp_path / "label.yaml", "--dry_run")[1]
    assert (
        "6 spans" in run("label_corpus", "--config", tmp_path / "label.yaml", "--plan.span_seconds", 4, "--dry_run")[1]
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            ["--teachers", "face=s2d:/nowhere/s2d.pth,/nowhere/landmarks.pth"],
            ["/nowhere/s2d.pth", "cyinen/S2D"],
        ),
        (["--teachers=[]"], ["--teachers", "NAME=KIND:ADDRESS"]),
        (["--require", "face", "--require", "speech"], ["--require is given twice", "all its values behind one"]),
        (["--input", "/nowhere/videos"], ["/nowhere/videos"]),
        (["--output", __file__ + "/labels"], ["Can't write to", "test_label_corpus.py"]),
        (["--media.faces.detector", "oracle"], ["oracle", "yunet"]),
        (["--media.min_speech_fraction", 3], ["min_speech_fraction", "between 0 and 1"]),
        (["--measure", "--measure.gpus", 8], ["--measure.gpus needs --measure.cpus"]),
        (["--measure.nodes", 8], ["need --measure"]),
        (["--detektor", "yunet"], ["detektor"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, wrong, words, teachers, videos, tmp_path):
    right = ["--input", videos, "--output", tmp_path / "out", "--media.faces.detector", "opencv"]
    given = [] if wrong[0].startswith("--teachers") else teachers.arguments
    refused(words, "label_corpus", *given, *right, *wrong)
    assert not (tmp_path / "out/labels").exists()
