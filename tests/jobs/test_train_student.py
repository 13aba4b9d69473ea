def test_a_manifest_and_a_table_become_students_and_scores(run, tones, tone_labels, tmp_path):
    arguments = [
        *("--labeled", tones, "--unlabeled", tone_labels, "--output", tmp_path / "out", "--recipe", "vid-sp-dstl"),
        *("--train.epochs", 2, "--train.batch_size", 10, "--loss.lambdas.face", 0.5),
    ]
    code, text, errors = run("train_student", *arguments)
    assert code == 0
    assert "Scores on each fold's test speakers" in text
    assert "vid-sp-dstl: UAR ." in text
    assert "chance 0.333" in text
    assert "supervised 0." in errors  # the progress: each term of the loss
    code, text, _ = run("train_student", *arguments)
    assert code == 0
    assert "Nothing to do" in text
