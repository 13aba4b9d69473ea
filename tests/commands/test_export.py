import shutil
from functools import partial

import numpy as np
import onnxruntime
import pytest
import soundfile
from small_students import ATTRIBUTES, write_student
from tones import tone


@pytest.fixture
def run(command, student_folder):
    return partial(command, "export", "--model", student_folder)


def test_a_file_and_how_it_compares(run, tmp_path):
    code, out, _ = run("--output", tmp_path / "deep/student.onnx")
    assert code == 0
    assert "bytes, float32, labels neutral, calm" in out
    assert "1 of 1 answers agree" in out
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["student.onnx"]
    onnxruntime.InferenceSession(tmp_path / "deep/student.onnx")


def test_of_attributes_alone_these_are_compared(command, tmp_path):
    folder = write_student(tmp_path / "student", labels=["speech"], attributes=ATTRIBUTES)
    _, out, _ = command("export", "--model", folder, "--output", tmp_path / "student.onnx")
    assert "float32, attributes arousal, valence\n" in out
    assert "10 s of noise: attributes differ by at most " in out


def test_eight_bits_need_speech(run, tmp_path, speech_folder):
    """What is broken or begins with 3 s of silence is left out."""
    shutil.copytree(speech_folder, tmp_path / "speech")
    (tmp_path / "speech/bad.wav").write_bytes(b"no sound")
    late = np.concatenate([np.zeros(4 * 16_000, np.int16), tone(1, 2.0, np.random.default_rng(0))])
    soundfile.write(tmp_path / "late.wav", late, 16_000)
    code, out, errors = run("--output", tmp_path / "small.onnx", "--int8", tmp_path / "speech", tmp_path / "late.wav")
    assert code == 0
    assert "8-bit, calibrated with 3 recordings" in out
    assert "bad.wav: unreadable" in errors
    assert f"Left out: {tmp_path / 'late.wav'}: silent" in errors
    assert (tmp_path / "small.onnx").stat().st_size < 230_000
    code, _, errors = run("--output", tmp_path / "none.onnx", "--int8", tmp_path / "nowhere")
    assert code == 2
    assert "--int8 needs some speech" in errors
    assert not (tmp_path / "none.onnx").exists()


def test_a_file_on_s3(run, s3_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bucket = s3_store.bucket()
    code, out, _ = run("--output", f"s3://{bucket}/deep/student.onnx")
    assert code == 0
    assert f"s3://{bucket}/deep/student.onnx: " in out
    assert "1 of 1 answers agree" in out
    (found,) = s3_store.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Key"] == "deep/student.onnx"
    onnxruntime.InferenceSession(s3_store.client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("gs://lab/student.onnx", "give a path or s3://bucket/file"),
        ("s3://lab.onnx", "give a path or s3://bucket/file"),
        ("s3://lab/a//student.onnx", "Give s3://lab/a/student.onnx"),
        ("s3://lab/models/", "whose name ends in .onnx"),
        ("student", "whose name ends in .onnx"),
        ("s3://no-such-bucket-here/student.onnx", "the bucket does not exist"),
    ],
)
def test_an_output_that_would_be_of_no_use_is_refused(run, s3_store, tmp_path, monkeypatch, output, words):
    monkeypatch.chdir(tmp_path)
    code, out, errors = run("--output", output)
    assert (code, out) == (2, "")
    assert words in errors
    assert not list(tmp_path.iterdir())


def test_a_path_that_can_not_be_written_is_one_message(run, tmp_path):
    """Found before the work, or where the file system alone knows, after it."""
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").touch()
    for output, words in (
        (tmp_path / "folder.onnx", "is a folder: give a file"),
        (tmp_path / "file/student.onnx", f"{tmp_path / 'file'} is no folder"),
        ("/proc/student.onnx", "/proc/student.onnx can't be written"),
    ):
        code, out, errors = run("--output", output)
        assert (code, out) == (2, "")
        assert words in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx"]
