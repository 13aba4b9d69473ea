import shutil
import sys

import onnxruntime
import pytest

from liser_ray.__main__ import main


@pytest.fixture
def run(student_folder, capsys, monkeypatch):
    """Runs the command; gives exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        given = ["liser-ray", "export", "--model", str(student_folder), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_a_file_and_how_it_compares(run, tmp_path):
    code, out, _ = run("--output", tmp_path / "deep/student.onnx")
    assert code == 0
    assert "bytes, float32, labels neutral, calm" in out
    assert "1 of 1 answers agree" in out
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["student.onnx"]
    onnxruntime.InferenceSession(tmp_path / "deep/student.onnx")


def test_eight_bits_need_speech(run, tmp_path, speech_folder):
    shutil.copytree(speech_folder, tmp_path / "speech")
    (tmp_path / "speech/bad.wav").write_bytes(b"no sound")
    code, out, errors = run("--output", tmp_path / "small.onnx", "--int8", tmp_path / "speech")
    assert code == 0
    assert "8-bit, calibrated with 3 recordings" in out
    assert "bad.wav: unreadable" in errors
    assert (tmp_path / "small.onnx").stat().st_size < 230_000
    code, _, errors = run("--output", tmp_path / "none.onnx", "--int8", tmp_path / "nowhere")
    assert code == 2
    assert "--int8 needs some speech" in errors
    assert not (tmp_path / "none.onnx").exists()
