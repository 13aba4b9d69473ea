"""``liser-ray predict`` as it is typed."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_files import moving_gradient, voice_like, write_video
from odd_files import Sound, rename_codec, write_tracks
from small_students import ATTRIBUTES, EMOTIONS, write_student
from tones import tone

from liser_ray.prediction.student import Student
from liser_ray.student.config import NetworkConfig


@pytest.fixture
def run(command, student_folder):
    return partial(command, "predict", "--model", student_folder)


def test_a_table_has_a_line_for_each_recording(run, speech_folder, student_folder):
    code, out, errors = run(speech_folder / "low.wav", speech_folder / "middle.flac")
    header, *lines = out.splitlines()
    assert code == 0
    assert header.split() == ["file", "emotion", "probability"]
    student = Student.from_pretrained(student_folder)
    for line, name in zip(lines, ("low.wav", "middle.flac"), strict=True):
        expected = student.predict_file(str(speech_folder / name))
        assert line.split()[:3] == [str(speech_folder / name), expected.label, f"{expected.probability:.2f}"]
    assert errors == ""


def test_a_timeline_has_a_line_for_each_window(run, speech_folder):
    _, out, _ = run("--timeline", speech_folder / "middle.flac")
    lines = out.splitlines()[2:]
    assert len(lines) == 6
    assert lines[0].split()[:4] == ["0.0", "-", "3.0", "s"]
    assert lines[-1].split()[:4] == ["0.5", "-", "3.5", "s"]
    assert lines[0].split()[4] in EMOTIONS
    _, out, _ = run("--timeline", "--step_s", "0.5", speech_folder / "middle.flac")
    assert len(out.splitlines()) == 2 + 2


def test_a_timeline_counts_from_the_files_own_start(run, tmp_path):
    """Of a file whose sound comes after its pictures, by a clock that starts later; and of two joined."""
    pictures = {"frames": moving_gradient, "fps": 10, "duration_s": 4, "audio_codec": "aac", "audio_rate_hz": 16_000}
    sound = voice_like(np.arange(2 * 16_000) / 16_000)
    late = write_video(tmp_path / "late.mkv", audio=sound, video_start_s=600.0, audio_start_s=602.0, **pictures)
    _, out, _ = run("--csv", "--timeline", late)
    assert [float(row["start_s"]) for row in csv.DictReader(io.StringIO(out))] == [pytest.approx(2, abs=0.1)]
    once = write_video(tmp_path / "once.mp4", audio=voice_like(np.arange(4 * 16_000) / 16_000), **pictures)
    (tmp_path / "twice.mp4").write_bytes(2 * once.read_bytes())
    _, out, _ = run("--json", tmp_path / "twice.mp4")
    assert json.loads(out)["duration_s"] == pytest.approx(8, abs=0.2)


def test_what_can_not_be_decoded_costs_no_other_recording(run, speech_folder, tmp_path):
    sine = voice_like(np.arange(32_000) / 16_000)
    undecodable = rename_codec(write_tracks(tmp_path / "a.mp4", [Sound(sine)], duration_s=2), b"mp4a", b"ac-4")
    soundfile.write(tmp_path / "b.wav", np.repeat(sine[:16_000, None], 17, axis=1), 16_000)
    code, out, _ = run("--json", undecodable, tmp_path / "b.wav", speech_folder / "low.wav")
    bad, many_channels, good = map(json.loads, out.splitlines())
    assert code == 3
    assert bad["error"].startswith("unreadable: no decoder for ac4")
    assert many_channels["duration_s"] == 1
    assert good["duration_s"] == 2


def test_json_has_an_object_a_line_with_errors_too(run, speech_folder, tmp_path):
    code, out, _ = run("--json", "--timeline", speech_folder / "low.wav", tmp_path / "none.wav")
    good, bad = map(json.loads, out.splitlines())
    assert code == 3
    assert good["file"] == str(speech_folder / "low.wav")
    assert good["duration_s"] == 2
    assert good["emotion"] in EMOTIONS
    assert good["probabilities"][good["emotion"]] == good["probability"]
    assert [(one["start_s"], one["end_s"]) for one in good["windows"]] == [(0, 2)]
    assert bad == {"file": str(tmp_path / "none.wav"), "error": "unreadable: there is no such file"}


def test_csv_has_a_column_for_each_label_and_one_for_errors(run, speech_folder, tmp_path):
    (tmp_path / 'odd, "name".wav').write_bytes(b"no sound")
    _, out, _ = run("--csv", speech_folder / "low.wav", tmp_path / 'odd, "name".wav')
    good, bad = csv.DictReader(io.StringIO(out))
    assert list(good)[:5] == ["file", "start_s", "end_s", "emotion", "probability"]
    assert sum(float(good[label]) for label in EMOTIONS) == pytest.approx(1, abs=1e-3)
    assert good["error"] == ""
    assert bad["file"].endswith('odd, "name".wav')
    assert "no container of video or sound" in bad["error"]
    _, out, _ = run("--csv", "--timeline", speech_folder / "middle.flac")
    assert [row["start_s"] for row in csv.DictReader(io.StringIO(out))] == [f"{k / 10:.3f}" for k in range(6)]


def test_numbers_alone_are_not_drawn(command, speech_folder, tmp_path):
    folder = write_student(tmp_path / "student", labels=["speech"], attributes=ATTRIBUTES)
    code, _, errors = command("predict", "--model", folder, "--plot", tmp_path / "a.png", speech_folder / "middle.flac")
    assert code == 2
    assert "this student says numbers alone" in errors


def test_attributes_stand_beside_the_emotion(command, speech_folder, tmp_path):
    folder = write_student(tmp_path / "student", attributes=ATTRIBUTES)
    values = Student.from_pretrained(folder).predict_file(str(speech_folder / "middle.flac")).attributes
    assert list(values) == ["arousal", "valence"]
    run = partial(command, "predict", "--model", folder, "--timeline", speech_folder / "middle.flac")
    _, out, _ = run()
    header, whole, *windows = (line.split() for line in out.splitlines())
    assert header == ["file", "emotion", "arousal", "valence", "probability"]
    assert [float(one) for one in whole[2:4]] == pytest.approx([*values.values()], rel=5e-3)
    of_windows = np.array([[float(one) for one in line[5:7]] for line in windows])
    assert of_windows.mean(axis=0) == pytest.approx([*values.values()], rel=5e-3)
    _, out, _ = run("--json")
    found = json.loads(out)
    assert found["attributes"] == pytest.approx(values, abs=1e-4)
    rows = [[one["attributes"][name] for name in values] for one in found["windows"]]
    np.testing.assert_allclose(rows, of_windows, rtol=5e-3)
    _, out, _ = run("--csv", tmp_path / "none.wav")
    *good, bad = csv.DictReader(io.StringIO(out))
    np.testing.assert_allclose([[float(row[name]) for name in values] for row in good], of_windows, rtol=5e-3)
    assert (bad["arousal"], bad["error"]) == ("", "unreadable: there is no such file")


def test_without_labels_attributes_are_all_that_is_said(command, speech_folder, tmp_path):
    folder = write_student(tmp_path / "student", labels=["speech"], attributes=ATTRIBUTES)
    run = partial(command, "predict", "--model", folder, speech_folder / "middle.flac", tmp_path / "none.wav")
    _, out, _ = run()
    header, (_, *values) = (line.split() for line in out.splitlines())
    assert header == ["file", "arousal", "valence"]
    _, out, _ = run("--json")
    found, failed = map(json.loads, out.splitlines())
    assert list(found["attributes"].values()) == pytest.approx([float(one) for one in values], rel=5e-3)
    assert "emotion" not in found
    _, out, _ = run("--csv")
    good, bad = csv.DictReader(io.StringIO(out))
    assert list(good) == ["file", "start_s", "end_s", "arousal", "valence", "unlike_training", "error"]
    assert (bad["valence"], bad["error"]) == ("", failed["error"])


def test_hidden_files_are_left_out_and_links_followed(run, speech_folder, tmp_path):
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls/._a.wav").write_bytes(b"what a Mac leaves")
    (tmp_path / "calls/more").symlink_to(speech_folder)
    names = [json.loads(line)["file"] for line in run(tmp_path / "calls", "--json")[1].splitlines()]
    assert names
    assert all("calls/more/" in name for name in names)


def test_what_a_folder_has_and_can_not_be_read_is_named(run, speech_folder, tmp_path, monkeypatch):
    (tmp_path / "gone.wav").symlink_to(tmp_path / "moved away.wav")
    (tmp_path / "there.wav").symlink_to(speech_folder / "low.wav")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(folder):
        if str(folder) == str(tmp_path / "closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    code, out, errors = run(tmp_path)
    assert (code, out.count("there.wav")) == (3, 1)
    assert f"{tmp_path}/gone.wav: unreadable: there is no such file" in errors
    assert f"{tmp_path}/closed: can't be listed: Permission denied" in errors
    code, _, errors = run(tmp_path / "*.wav")
    assert (code, errors.count("there is no such file")) == (3, 1)


def test_standard_input_may_stand_behind_an_option_and_may_be_closed(run, speech_folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, out, _ = run(speech_folder / "low.wav", "--json", "-")
    assert code == 3
    assert [json.loads(line).get("error") for line in out.splitlines()] == [
        None,
        "unreadable: standard input is closed",
    ]


def test_folders_globs_and_videos(run, speech_folder, tmp_path):
    write_video(tmp_path / "talk.mp4", moving_gradient, duration_s=1.0, audio=voice_like)
    (tmp_path / "notes.txt").write_text("not taken")
    _, out, _ = run(speech_folder, tmp_path)
    names = [line.split()[0] for line in out.splitlines()[1:]]
    below = [speech_folder / name for name in ("deeper/high.wav", "low.wav", "middle.flac")]
    assert names == [str(path) for path in (*below, tmp_path / "talk.mp4")]
    (tmp_path / "c d").symlink_to(speech_folder)
    assert run(f"file://{tmp_path}/c%20d/*.wav")[1].split()[3] == f"{tmp_path}/c"
    code, out, _ = run(speech_folder / "**" / "*.wav")
    assert code == 0
    assert [Path(line.split()[0]).name for line in out.splitlines()[1:]] == ["high.wav", "low.wav"]


def test_objects_prefixes_and_globs_on_s3(run, speech_folder, s3_store):
    """The empty object that some tools leave for a folder is no recording; a name that begins alike is another one."""
    bucket = s3_store.bucket()
    s3_store.client.put_object(Bucket=bucket, Key="calls/", Body=b"")
    for key in ("calls/low.wav", "calls/middle.flac", "calls-2019/low.wav", "calls_private/low.wav", "d[1]/low.wav"):
        s3_store.client.upload_file(str(speech_folder / Path(key).name), bucket, key)
    low, middle = "calls/low.wav", "calls/middle.flac"
    found = {low: [low], "calls/": [low, middle], "calls": [low, middle], "calls/*": [low, middle], "c*.flac": [middle]}
    found |= {name: ["d[1]/low.wav"] for name in ("d[1]", "d[1]/", "d[1]/low.wav", "d*.wav")}
    code, out, errors = run(*(f"s3://{bucket}/{name}" for name in found))
    assert (code, errors) == (0, "")
    names = [line.split()[0].removeprefix(f"s3://{bucket}/") for line in out.splitlines()[1:]]
    assert names == [key for keys in found.values() for key in keys]
    code, _, errors = run(f"s3://{bucket}/none/", f"s3://{bucket}/none.wav")
    assert code == 3
    assert errors.count("no recordings there") == 2


def test_bad_recordings_are_named_and_the_others_done(run, speech_folder, tmp_path):
    def write(name: str, samples: np.ndarray, rate_hz: int = 16_000, **more: str) -> Path:
        soundfile.write(tmp_path / name, samples, rate_hz, **more)
        return tmp_path / name

    (tmp_path / "empty.wav").write_bytes(b"")
    whole = write_video(tmp_path / "whole.mp4", moving_gradient, duration_s=1.0, audio=voice_like).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "wrong.wav").write_bytes(b"%PDF-1.7 no sound here" * 20)
    speech = tone(1, 2.0, np.random.default_rng(0))
    bad = {
        tmp_path / "empty.wav": "empty",
        tmp_path / "wrong.wav": "no container of video or sound",
        tmp_path / "cut.mp4": "an MP4 whose index (moov) is missing or broken: cut off?",
        tmp_path / "missing.wav": "there is no such file",
        write("silent.wav", np.zeros(16_000, np.int16)): "silent",
        write("10ms.wav", speech[:160]): "shorter than 0.1 s: 0.010 s",
        write("nan.wav", np.full(16_000, np.nan), subtype="FLOAT"): "not finite",
        tmp_path / "no" / "*.wav": "no recordings there",
        "https://example.org/a.wav?x=[1]": "can't read this kind of address. Download it",
        "gs://lab/a.wav": "can't read this kind of address. Give",
    }
    good = [
        write("8.wav", np.tile(speech[:, None], (1, 8))),
        write("192.wav", speech, 192_000),
        speech_folder / "low.wav",
    ]
    code, out, errors = run(*bad, *good)
    assert code == 3
    assert [line.split()[0] for line in out.splitlines()[1:]] == [str(path) for path in good]
    *lines, summary = errors.splitlines()
    for line, (path, reason) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"error: {path}: ")
        assert reason in line
    assert summary == "10 of 13 recordings could not be used."


def test_abstaining_and_choosing_among_fewer(run, speech_folder):
    _, out, _ = run("--json", "--abstain_below", "1", speech_folder / "low.wav")
    assert json.loads(out)["emotion"] == "unsure"
    _, out, _ = run("--json", "--classes", "happy, sad", speech_folder / "low.wav")
    assert set(json.loads(out)["probabilities"]) == {"happy", "sad"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--classes", "joyful,sad"], "no label joyful"),
        (["--step_s", "0.25"], "multiple of 0.1 s"),
        (["--abstain_below", "2"], "probability from 0 to 1"),
        (["--plot", "one.png", "b.wav"], "give a folder"),
        (["--plot", "gs://lab/one.png"], "give a path or s3://bucket/"),
        (["--plot", "gs://lab/pictures"], "give a path or s3://bucket/"),
        (["--plot", "one.JPG"], "whose name ends in .png"),
        (["--plot", __file__], "can't be written"),
    ],
)
def test_wrong_options_are_one_message(run, arguments, words):
    code, out, errors = run("a.wav", *arguments)
    assert (code, out) == (2, "")
    assert words in errors
    assert "Traceback" not in errors


def test_a_student_is_found_where_training_leaves_it_or_asked_for(
    command, student_folder, speech_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LISER_STUDENT", raising=False)
    code, _, errors = command("predict", speech_folder / "low.wav")
    assert code == 2
    assert "name one with --model" in errors
    (tmp_path / "out/student").mkdir(parents=True)
    (tmp_path / "out/student/seed-0-fold-0").symlink_to(student_folder)
    assert command("predict", speech_folder / "low.wav")[0] == 0
    monkeypatch.chdir(speech_folder)
    monkeypatch.setenv("LISER_STUDENT", str(student_folder))
    assert command("predict", "low.wav")[0] == 0


def test_pictures(run, speech_folder, tmp_path):
    assert run("--plot", tmp_path / "one.png", speech_folder / "middle.flac")[0] == 0
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    run("--plot", tmp_path / "many", speech_folder, speech_folder / "low.wav")
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert names == ["high.png", "low-2.png", "low.png", "middle.png"]


def test_pictures_on_s3(run, speech_folder, s3_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bucket = s3_store.bucket()
    assert run("--plot", f"s3://{bucket}/one.png", speech_folder / "middle.flac")[0] == 0
    assert run("--plot", f"s3://{bucket}/many/", speech_folder / "low.wav")[0] == 0
    found = s3_store.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [one["Key"] for one in found] == ["many/low.png", "one.png"]
    assert s3_store.client.get_object(Bucket=bucket, Key="one.png")["Body"].read().startswith(b"\x89PNG")
    assert not list(tmp_path.iterdir())
    code, out, errors = run("--plot", "s3://no-such-bucket-here/one.png", speech_folder / "middle.flac")
    assert (code, out) == (2, "")
    assert "the bucket does not exist" in errors


def test_standard_input_is_read_to_its_end(run, speech_folder, monkeypatch):
    with (speech_folder / "middle.flac").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        found = json.loads(run("--json", "-")[1])
    assert (found["file"], found["duration_s"]) == ("-", 3.5)


@pytest.fixture(scope="module")
def onnx_file(student_folder, tmp_path_factory) -> Path:
    """The student, for processes that need not wait for PyTorch."""
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    path.write_bytes(Student.from_pretrained(student_folder).export_onnx())
    return path


def test_nobody_reading_on_is_no_error(onnx_file, speech_folder):
    command = [sys.executable, "-m", "liser_ray", "predict", "--onnx", str(onnx_file), "--timeline"]
    files = [str(speech_folder / "middle.flac")] * 50
    process = subprocess.Popen([*command, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().split()[0] == b"file"
    process.stdout.close()
    assert process.wait(timeout=120) == 141
    assert process.stderr.read() == b""


WITHOUT = """
import importlib.abc, sys
ALLOWED = {"numpy", "av", "onnxruntime", "rich", "liser_ray"}

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ALLOWED or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
"""
COMMAND = """
from liser_ray.__main__ import main
sys.argv[0] = "liser-ray"
main()
"""
STREAM = """
import json
from liser_ray import Student
from liser_ray.prediction.sound import file_blocks, open_sound
stream = Student.from_pretrained(sys.argv[1]).stream()
with open_sound(sys.argv[2]) as source:
    estimates = [estimate for block in file_blocks(source) for estimate in stream.add(block)]
print(json.dumps(estimates[-1].probabilities.tolist()))
"""


def without_others(*arguments: object, script: str = COMMAND) -> subprocess.CompletedProcess[str]:
    """A script where only what the package needs at least can be imported."""
    command = [sys.executable, "-c", WITHOUT + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_onnx_runs_with_onnxruntime_alone(speech_folder, tmp_path):
    """Files, timelines and streams, of a student that hears relative to the recording: it asks for most."""
    folder = write_student(tmp_path / "student", NetworkConfig(normalisation="utterance"))
    student = Student.from_pretrained(folder)
    (tmp_path / "student.onnx").write_bytes(student.export_onnx())
    speech = speech_folder / "middle.flac"
    done = without_others("predict", "--onnx", tmp_path / "student.onnx", "--json", "--timeline", speech)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = student.predict_file(str(speech))
    shares = [list(window["probabilities"].values()) for window in found["windows"]]
    np.testing.assert_allclose(list(found["probabilities"].values()), expected.probabilities, atol=3e-4)
    np.testing.assert_allclose(shares, expected.window_probabilities, atol=3e-4)
    done = without_others(tmp_path / "student.onnx", speech, script=STREAM)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected.window_probabilities[-1], atol=3e-4)


def test_what_is_not_installed_is_named(student_folder, onnx_file, speech_folder):
    speech = speech_folder / "low.wav"
    for arguments, *words in (
        (["predict", "--model", student_folder, speech], "needs PyTorch", "liser-ray export"),
        (["predict", "--onnx", onnx_file, "--plot", "a.png", speech], "pip install matplotlib"),
        (["predict", "--onnx", onnx_file, "s3://bucket/speech.wav"], "liser-ray[train]"),
        (["predict", "--model", "out/studemt", speech], "There is no student at out/studemt", "liser-ray[train]"),
        (["demo-app", "--onnx", onnx_file], "liser-ray[app]"),
        (["listen", "--onnx", onnx_file], "pip install sounddevice"),
        (["corpora", speech_folder], "liser-ray[train]"),
        (["train", "--labeled", "x.csv"], "liser-ray[train]"),
    ):
        done = without_others(*arguments)
        assert done.returncode == 2
        assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize(
    "arguments", [["--onnx", "models/student.onnx"], ["--onnx", "models/student"], ["--model", "models/a.onnx"]]
)
def test_a_mistyped_path_is_not_looked_for_on_the_hub(command, arguments):
    code, _, errors = command("predict", *arguments, "low.wav")
    assert code == 2
    assert "There is no student at" in errors
    assert "came from the Hugging Face hub" not in errors
