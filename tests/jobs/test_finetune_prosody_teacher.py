import sys

from liser_ray.teachers.prosody import opensmile


def test_a_manifest_becomes_teachers_and_a_table(run, voices, tmp_path):
    arguments = ["--labeled", voices, "--output", tmp_path / "out", "--train.epochs", 1, "--folds", 0]
    code, text, _ = run("finetune_prosody_teacher", *arguments)
    assert code == 0
    assert "Scores on each fold's test speakers (chance 0.500)" in " ".join(text.split())
    assert "UAR w" not in text
    assert f"{tmp_path / 'out'}/fold-*" in text.replace("\n", "")
    assert (tmp_path / "out/fold-0/prosody.safetensors").exists()


def test_opensmile_that_is_not_there_is_said(refused, voices, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.setattr(opensmile, "_extractor", opensmile._extractor.__wrapped__)  # none from before
    arguments = ["--labeled", voices, "--output", tmp_path / "out", "--descriptors", "opensmile"]
    refused(["pip install 'liser-ray[opensmile]'", "licence"], "finetune_prosody_teacher", *arguments)
