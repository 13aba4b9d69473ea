from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "jobs/train_student.py"


def test_help_names_every_field_and_its_unit(run):
    _, text, _ = run("--help")
    for words in ("--labeled", "conf-vid-sp-dstl", "--loss.lambdas", "--train.augment.mixup_alpha", "--memory_gb"):
        assert words in text
    assert "\n  python jobs/train_student.py --labeled ravdess:data/RAVDESS --recipe no-dstl\n" in text


def test_a_manifest_and_a_table_become_students_and_scores(run, tones, tone_labels, tmp_path):
    arguments = [
        *("--labeled", tones, "--unlabeled", tone_labels, "--output", tmp_path / "out", "--recipe", "vid-sp-dstl"),
        *("--train.epochs", 2, "--train.batch_size", 10, "--loss.lambdas.face", 0.5),
    ]
    code, text, errors = run(*arguments)
    assert code == 0
    assert "Scores on each fold's test speakers" in text
    assert "vid-sp-dstl: UAR ." in text
    assert "chance 0.333" in text
    assert "supervised 0." in errors  # the progress: each term of the loss
    code, text, _ = run(*arguments)
    assert code == 0
    assert "Nothing to do" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--labeled", "ravdess:"]),
        (["--labeled", "ravdess:/nowhere", "--recipe", "no-dstl"], ["/nowhere"]),
        (["--labeled", "x.csv"], ["conf-vid-sp-dstl", "label_corpus.py", "--unlabeled"]),
        (["--labeled", "x.csv", "--recipe", "no-dstl", "--train.two_stage"], ["two_stage", "sp-dstl"]),
        (["--labeled", "x.csv", "--loss.lambdas.speech", "-1"], ["lambdas.speech is -1"]),
        (["--labeled", "x.csv", "--loss.lambdas.dog", "1"], ["--loss.lambdas.dog", "speech and face"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, tmp_path, arguments, words):
    refused(words, "--output", tmp_path / "out", *arguments)
