from pathlib import Path

import pytest
from tone_files import write_tone_labels, write_tones

JOB = Path(__file__).parents[2] / "jobs/train_student.py"


def test_help_names_every_field_and_its_unit(run):
    _, text, _ = run("--help")
    for words in ("--labeled", "conf-vid-sp-dstl", "--loss.lambda_sd", "--train.augment.mixup_alpha", "--memory_gb"):
        assert words in text
    assert "\n  python jobs/train_student.py --labeled ravdess:data/RAVDESS --recipe no-dstl\n" in text


def test_a_manifest_and_a_table_become_students_and_scores(run, tmp_path):
    tones = write_tones(tmp_path)
    labels = write_tone_labels(tmp_path / "labels", tones)
    arguments = [
        *("--labeled", tones, "--unlabeled", labels, "--output", tmp_path / "out", "--recipe", "vid-sp-dstl"),
        *("--train.epochs", 2, "--train.batch_size", 10, "--loss.lambda_vd", 0.5),
    ]
    code, text, errors = run(*arguments)
    assert code == 0
    assert "Scores on each fold's test speakers" in text
    assert "vid-sp-dstl: UAR ." in text
    assert "chance 0.333" in text
    assert "sup " in errors  # the progress: each term of the loss
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
        (["--labeled", "x.csv", "--loss.lambda_sd", "-1"], ["lambda_sd"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(run, tmp_path, arguments, words):
    code, _, errors = run("--output", tmp_path / "out", *arguments)
    assert code == 2
    assert "Traceback" not in errors
    for word in words:
        assert word in errors
