import numpy as np
import pytest
import soundfile
from small_teachers import make_speech_base


@pytest.mark.parametrize("how", ["lora", "head"])
def test_a_manifest_becomes_teachers_and_a_table(run, tmp_path, how):
    rng = np.random.default_rng(0)
    rows = ["path,label,speaker"]
    for speaker in range(3):
        for label in ("loud", "quiet"):
            for take in range(2):
                name = f"{speaker}_{label}_{take}.wav"
                soundfile.write(tmp_path / name, (0.3 if label == "loud" else 0.05) * rng.standard_normal(9000), 16_000)
                rows.append(f"{name},{label},s{speaker}")
    (tmp_path / "voices.csv").write_text("\n".join(rows))
    arguments = [
        *("--labeled", tmp_path / "voices.csv", "--output", tmp_path / "out"),
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
