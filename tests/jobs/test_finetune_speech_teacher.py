import pytest
from small_teachers import make_speech_base


@pytest.mark.parametrize("how", ["lora", "head"])
def test_a_manifest_becomes_teachers_and_a_table(run, voices, tmp_path, how):
    arguments = [
        *("--labeled", voices, "--output", tmp_path / "out"),
        *("--base", make_speech_base(tmp_path / "base"), "--workers", 0, "--train.epochs", 1, "--folds", 0),
        *(("--lora.targets", "q_proj", "v_proj") if how == "lora" else ("--head_only",)),
    ]
    code, text, _ = run("finetune_speech_teacher", *arguments)
    assert code == 0
    assert "Scores on each fold's test speakers (chance 0.500)" in text
    assert f"{tmp_path / 'out'}/fold-*" in text.replace("\n", "")
    assert (tmp_path / "out/fold-0/README.md").exists()
    assert (tmp_path / "out/fold-0/head.safetensors").exists() == (how == "head")
    code, text, _ = run("finetune_speech_teacher", *arguments)
    assert "Nothing to do" in text
