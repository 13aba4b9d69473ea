from pathlib import Path

import pytest
from small_students import write_student

JOB = Path(__file__).parents[2] / "jobs/student_teachers.py"


def test_help_says_how_it_goes_on(run):
    _, text, _ = run("--help")
    for words in ("--students", "--train.held_out_speakers 0.2", "--speech_teachers", "strong-sp-dstl"):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--students", "--labeled"]),
        (["--students", "/nowhere", "--labeled", "ravdess:/data"], ["/nowhere"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, arguments, words):
    refused(words, *arguments)


def test_students_of_another_set(refused, tmp_path, tones):
    write_student(tmp_path / "seed-0-fold-0")
    refused(["learned from ravdess", "tones"], "--students", tmp_path, "--labeled", tones, "--output", tmp_path / "out")
