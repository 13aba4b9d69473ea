from small_texts import write_texts


def test_a_list_of_texts_becomes_a_teacher(run, tmp_path):
    listed = write_texts(tmp_path / "said.csv", of_each=4)
    model = ["--base", "", "--new_model.pieces", 300, "--new_model.hidden_size", 16, "--new_model.layers", 1]
    arguments = ["--labeled", listed, "--output", tmp_path / "out", "--folds", 0, "--workers", 0, *model]
    code, text, _ = run("finetune_words_teacher", *arguments, "--train.epochs", 1)
    assert code == 0
    assert "Scores on each fold's test speakers (chance 0.333)" in " ".join(text.split())
    assert "A small BERT without pretraining, tuned on said" in (tmp_path / "out/fold-0/README.md").read_text()
    assert '"learning_rate": 0.001' in (tmp_path / "out/run.json").read_text()


def test_words_that_tell_nothing_and_lists_without_any_are_refused(refused, tmp_path):
    job = ("finetune_words_teacher", "--output", tmp_path / "out", "--labeled")
    rows = [f"{said},{label},{speaker}" for said in ("Yes", "No") for label in "ab" for speaker in (1, 2)]
    (tmp_path / "same.csv").write_text("\n".join(["text,label,speaker", *rows]))
    words = ["2 different texts, of which 2 are said with all of the 2 labels", "UAR of 0.500 (chance 0.500)"]
    refused(words, *job, tmp_path / "same.csv")
    (tmp_path / "none.csv").write_text("path,label,speaker\na.wav,a,1\nb.wav,b,2\n")
    refused(["--transcribe", "column text"], *job, tmp_path / "none.csv")
