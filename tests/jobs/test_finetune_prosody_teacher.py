import sys

import numpy as np
import soundfile

from liser_ray.teachers.prosody import opensmile


def test_a_manifest_becomes_teachers_and_a_table(run, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["path,label,speaker"]
    for speaker in range(3):
        for label in ("loud", "quiet"):
            for take in range(2):
                name = f"{speaker}_{label}_{take}.wav"
                soundfile.write(tmp_path / name, (0.3 if label == "loud" else 0.05) * rng.standard_normal(9000), 16_000)
                rows.append(f"{name},{label},s{speaker}")
    (tmp_path / "voices.csv").write_text("\n".join(rows))
    arguments = ["--labeled", tmp_path / "voices.csv", "--output", tmp_path / "out", "--train.epochs", 1, "--folds", 0]
    code, text, _ = run("finetune_prosody_teacher", *arguments)
    assert code == 0
    assert "Scores on each fold's test speakers (chance 0.500)" in " ".join(text.split())
    assert "UAR w" not in text
    assert f"{tmp_path / 'out'}/fold-*" in text.replace("\n", "")
    assert (tmp_path / "out/fold-0/prosody.safetensors").exists()


def test_opensmile_that_is_not_there_is_said(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.setattr(opensmile, "_extractor", opensmile._extractor.__wrapped__)  # none from before
    rows = [f"{i}.wav,{label},s{i}" for i in range(3) for label in ("loud", "quiet")]
    (tmp_path / "voices.csv").write_text("\n".join(["path,label,speaker", *rows]))
    arguments = ["--labeled", tmp_path / "voices.csv", "--output", tmp_path / "out", "--descriptors", "opensmile"]
    refused(["pip install 'liser-ray[opensmile]'", "licence"], "finetune_prosody_teacher", *arguments)
