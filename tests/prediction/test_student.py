import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
import soundfile
import torch
from small_students import ATTRIBUTES, EMOTIONS, make_classifier, write_student
from tones import make_tones, tone

from liser_ray import Student
from liser_ray.media.waveform import WaveformError
from liser_ray.prediction import sound as sound_module
from liser_ray.prediction.prediction import softmax
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import NetworkConfig
from liser_ray.student.training.evaluation import EvaluationSet

SPEECH = tone(1, 4.0, np.random.default_rng(0))


def test_a_prediction_says_what_when_and_how_surely(student):
    prediction = student.predict(SPEECH, 16_000)
    assert prediction.labels == EMOTIONS
    assert prediction.probabilities.sum() == pytest.approx(1)
    assert prediction.label == EMOTIONS[prediction.probabilities.argmax()]
    assert prediction.probability == prediction.as_dict[prediction.label]
    assert prediction.duration_s == 4
    np.testing.assert_allclose(prediction.window_start_s, np.arange(11) / 10)
    np.testing.assert_allclose(prediction.window_end_s, 3 + np.arange(11) / 10)
    assert prediction.window_probabilities.shape == (11, 8)


def test_the_same_sound_in_other_types_rates_and_channels_is_predicted_alike(student):
    expected = student.predict(SPEECH, 16_000).probabilities
    as_float = SPEECH.astype(np.float32) / 32768
    np.testing.assert_array_equal(student.predict(as_float, 16_000).probabilities, expected)
    np.testing.assert_allclose(student.predict(as_float.astype(np.float64), 16_000).probabilities, expected, atol=1e-6)
    for kind in (">i2", ">f4"):
        swapped = (SPEECH if kind == ">i2" else as_float).astype(kind)
        np.testing.assert_array_equal(student.predict(swapped, 16_000).probabilities, expected)
    eight_channels = np.tile(as_float, (8, 1))
    np.testing.assert_allclose(student.predict(eight_channels, 16_000).probabilities, expected, atol=1e-5)
    assert student.predict(SPEECH[::2], 8_000).duration_s == pytest.approx(4, abs=0.01)


def test_a_file_is_predicted_as_its_samples(student, tmp_path):
    expected = student.predict(SPEECH, 16_000)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, SPEECH, 16_000)
        found = student.predict_file(str(tmp_path / name))
        np.testing.assert_allclose(found.window_probabilities, expected.window_probabilities, atol=1e-6)
    soundfile.write(tmp_path / "a b.wav", SPEECH, 16_000)
    assert student.predict_file(f"file://{tmp_path}/a%20b.wav").label == expected.label
    time_s = np.arange(2 * 192_000) / 192_000
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 400 * time_s), 192_000)
    assert student.predict_file(str(tmp_path / "a.wav")).duration_s == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (np.zeros(0, np.float32), "empty"),
        (SPEECH[:160], r"shorter than 0\.1 s"),
        (np.zeros(16_000, np.float32), "silent"),
        (np.full(16_000, np.nan, np.float32), "not finite"),
        (np.array([0.1] * 9_000 + [np.inf] + [0.1] * 9_000), "not finite"),
    ],
)
def test_sound_without_anything_to_hear_is_refused_in_words(student, waveform, words):
    with pytest.raises(WaveformError, match=words):
        student.predict(waveform, 16_000)


@pytest.mark.parametrize(
    ("waveform", "rate_hz", "words"),
    [
        (np.zeros((16_000, 2)), 16_000, r"give \[samples\] or \[channels, samples\]"),
        (np.zeros((2, 2, 9)), 16_000, "give"),
        (np.zeros((0, 16_000)), 16_000, "give"),
        (np.zeros(16_000, np.int32), 16_000, "int16, or floats"),
        (SPEECH.astype(np.float32), 16_000, "divided by 32768"),
        (SPEECH, 0, "16000 or 44100"),
        (SPEECH, 44_100.5, "16000 or 44100"),
        (SPEECH, "16000", "16000 or 44100"),
        (SPEECH, None, r"predict\(waveform, sample_rate_hz\)"),
        ("a.wav", 16_000, r"call predict_file\('a\.wav'\)"),
        (Path("a.wav"), None, r"call predict_file\('a\.wav'\)"),
    ],
)
def test_an_array_that_is_no_waveform_is_refused_with_what_to_give(student, waveform, rate_hz, words):
    with pytest.raises(ValueError, match=words):
        student.predict(waveform, rate_hz)


def test_a_step_further_apart_skips_windows(student):
    close, far = (student.predict(np.tile(SPEECH, 2)[:96_000], 16_000, step_s) for step_s in (0.1, 0.5))
    np.testing.assert_allclose(far.window_probabilities, close.window_probabilities[::5], atol=1e-5)
    np.testing.assert_allclose(far.window_start_s, np.arange(7) * 0.5)


@pytest.mark.parametrize(
    ("normalisation", "chunks"),
    [*((one, 0) for one in ("none", "corpus", "utterance", "utterance-mean", "speech")), ("none", 4), ("speech", 5)],
)
def test_a_prediction_is_the_evaluations(tmp_path, normalisation, chunks):
    """The same numbers as `EvaluationSet`, which scores students in training."""
    config = NetworkConfig(normalisation=normalisation, pooling="attention", chunks=chunks)
    speech = make_tones("ab", takes=1, shortest_s=1.0, longest_s=7.0, seed=3)
    recordings = EvaluationSet(speech, np.arange(len(speech)), normalisation, torch.device("cpu"), chunks)
    expected = torch.from_numpy(recordings.means(make_classifier(config))).softmax(dim=1).numpy()
    student = Student.from_pretrained(write_student(tmp_path, config))
    found = [student.predict(speech.waveform(i), 16_000) for i in range(len(speech))]
    np.testing.assert_allclose([one.probabilities for one in found], expected, atol=1e-4)
    if not chunks:
        assert [len(one.window_probabilities) for one in found] == recordings.n_windows.tolist()


def test_with_chunks_what_they_cover_is_answered_as_a_whole_and_a_longer_recording_by_its_windows(tmp_path):
    student = Student.from_pretrained(write_student(tmp_path, NetworkConfig(chunks=4)))
    for n_samples in (20_000, 48_000):  # one window, which is all there is
        prediction = student.predict(SPEECH[:n_samples], 16_000)
        np.testing.assert_allclose(prediction.probabilities, prediction.window_probabilities[0], atol=1e-5)
    whole, longer = (student.predict(np.tile(SPEECH, 4)[:n], 16_000) for n in (128 * 512 - 1, 128 * 512))
    for prediction, is_mean in ((whole, False), (longer, True)):
        of_windows = np.log(prediction.window_probabilities)
        mean = softmax(of_windows.mean(axis=0))
        assert np.allclose(prediction.probabilities, mean, atol=1e-4) == is_mean
        assert len(prediction.window_probabilities) == 11


def test_classes_restrict_the_answer(student):
    free = student.predict(SPEECH, 16_000)
    chosen = student.predict(SPEECH, 16_000, classes=["sad", "happy"])
    assert chosen.labels == ("happy", "sad")
    assert chosen.probabilities.sum() == pytest.approx(1)
    ratio = free.as_dict["happy"] / free.as_dict["sad"]
    assert chosen.as_dict["happy"] / chosen.as_dict["sad"] == pytest.approx(ratio, rel=1e-3)
    with pytest.raises(UserError, match="no label joyful; it has neutral"):
        student.predict(SPEECH, 16_000, classes=["joyful", "sad"])
    with pytest.raises(UserError, match="two labels or more"):
        student.predict(SPEECH, 16_000, classes=["sad"])


def test_a_long_recording_takes_no_more_memory_than_a_short_one(student, tmp_path):
    """Nothing that is held grows with the sound: what the network is given at once stays as large."""
    longest = []
    classify = student.backend.window_logits

    class Watched:
        def window_logits(self, samples, step_samples, statistics):
            longest.append(len(samples))
            n_windows = 1 + (len(samples) - 48_000) // step_samples
            return classify(samples[:48_000], step_samples, statistics).repeat(n_windows, 0)

    watched = Student(Watched(), student.card, None)
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16_000, 1) as file:
        for _ in range(60):
            file.write(tone(0, 10.0, np.random.default_rng(0)))
    for step_s, n_windows in ((0.1, 5971), (20.0, 30)):
        found = watched.predict_file(str(tmp_path / "long.flac"), step_s=step_s)
        assert len(found.window_probabilities) == n_windows
    assert max(longest) <= 48_000 + 127 * 1600


def test_a_gap_in_a_video_comes_in_pieces(monkeypatch):
    gap = np.arange(1_000_000).astype(np.int16)
    monkeypatch.setattr(sound_module, "decode_waveform", lambda source: iter([gap]))
    pieces = [*sound_module.file_blocks(io.BytesIO())]
    assert max(map(len, pieces)) < 100_000
    np.testing.assert_array_equal(np.concatenate(pieces) * 32768, gap)


def test_saved_and_loaded_it_is_the_same(student, tmp_path):
    student.save_pretrained(tmp_path / "kept")
    again = Student.from_pretrained(tmp_path / "kept")
    expected, found = (one.predict(SPEECH, 16_000).probabilities for one in (student, again))
    np.testing.assert_array_equal(found, expected)
    readme = (tmp_path / "kept/README.md").read_text()
    assert readme.startswith("---\nlibrary_name: liser-ray\n")
    for words in ("Training speakers: 1, 2.", "Test speakers: 4, 5", "UAR 1.000, WAR 1.000", "100,488 parameters"):
        assert words in readme


def test_a_folder_of_runs_gives_the_best_by_validation(tmp_path):
    for fold, uar in enumerate((0.4, 0.7, None)):
        write_student(tmp_path / f"seed-0-fold-{fold}", fold=fold, validation_uar=uar)
    assert Student.from_pretrained(tmp_path).card.content["fold"] == 1


def test_the_hub_serves_a_student_from_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    revision = "a" * 40
    repo = tmp_path / "models--lab--student"
    write_student(repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(revision)
    for address in ("lab/student", "hf://lab/student", f"lab/student@{revision}"):
        assert Student.from_pretrained(address).labels == EMOTIONS
    with pytest.raises(UserError, match=r"There is no student at lab/other here.* hub can't be reached"):
        Student.from_pretrained("lab/other")
    with pytest.raises(UserError, match=r"There is no student at lab/other\.onnx\. Train one"):
        Student.from_pretrained("lab/other.onnx")


def test_s3_serves_a_student(s3_store, tmp_path, monkeypatch):
    monkeypatch.setenv("LISER_CACHE", str(tmp_path / "cache"))
    folder, bucket = write_student(tmp_path / "student"), s3_store.bucket()
    for file in folder.iterdir():
        s3_store.client.put_object(Bucket=bucket, Key=f"students/{file.name}", Body=file.read_bytes())
    assert Student.from_pretrained(f"s3://{bucket}/students").labels == EMOTIONS


def test_a_push_uploads_weights_card_and_readme_at_once(student, monkeypatch):
    calls = []

    class Api:
        def __init__(self, token):
            calls.append(("token", token))

        def create_repo(self, repo_id, private, exist_ok):
            calls.append(("repo", repo_id, private, exist_ok))

        def create_commit(self, repo_id, operations, commit_message):
            calls.append(("files", repo_id, {one.path_in_repo: one.path_or_fileobj for one in operations}))
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert student.push_to_hub("lab/student", private=True, token="secret") == "https://hub/lab/student/commit/1"
    assert calls[:2] == [("token", "secret"), ("repo", "lab/student", True, True)]
    files = calls[2][2]
    assert set(files) == {"student.safetensors", "student.json", "README.md"}
    assert b"# lab/student" in files["README.md"]
    assert json.loads(files["student.json"])["labels"] == list(EMOTIONS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "of format 2"),
        ({"front_end": {"sample_rate_hz": 8_000}}, "listens with"),
        ({"network": {"heads_of_tomorrow": 4}}, "has heads_of_tomorrow, which this version of liser_ray does not know"),
        ({"labels": ["one"]}, "has no labels"),
        ({"network": None}, "no card of a student"),
        ({"network": {"filters": [64, 64]}}, "no card of a student"),
        ({"network": {"filters": [10**9, 1, 1]}}, "no card of a student"),
        ({"network": {"pooling": "loudest"}}, "no card of a student"),
        ({"network": {"hidden_size": "64"}}, "no card of a student"),
        ({"network": {"chunks": 2}}, "no card of a student"),
        ({"network": {"chunks": 4.0}}, "no card of a student"),
    ],
)
def test_a_card_that_this_version_cannot_run_is_refused(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        Student.from_pretrained(write_student(tmp_path, **changes))


def test_of_attributes_alone_no_score_of_labels_is_published(tmp_path):
    student = Student.from_pretrained(write_student(tmp_path, labels=["speech"], attributes=ATTRIBUTES))
    student.save_pretrained(tmp_path / "kept")
    readme = (tmp_path / "kept/README.md").read_text()
    assert "It names no label" in readme
    assert "UAR" not in readme


def test_a_device_that_is_not_there_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="--device nowhere can't be used here"):
        Student.from_pretrained(write_student(tmp_path), "nowhere")


def test_what_is_no_student_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (write_student(tmp_path / "half") / "student.safetensors").unlink()
    others = write_student(tmp_path / "others", NetworkConfig(pooling="attention")) / "student.safetensors"
    (write_student(tmp_path / "mixed") / "student.safetensors").write_bytes(others.read_bytes())
    (write_student(tmp_path / "broken") / "student.safetensors").write_bytes(b"no tensors")
    for name, words in (
        ("nowhere", r"Train one with jobs/train_student\.py"),
        ("empty", r"no student\.json"),
        ("a.wav", "give its folder"),
        ("half", "copy the whole folder"),
        ("mixed", "do not fit its card"),
        ("broken", "do not fit its card"),
    ):
        with pytest.raises(UserError, match=words):
            Student.from_pretrained(tmp_path / name)
    for address, words in (
        ("https://huggingface.co/owner/name", "give owner/name"),
        ("https://example.org/student", "Download it, and give a folder"),
    ):
        with pytest.raises(UserError, match=words):
            Student.from_pretrained(address)


FORKED = """
import os, signal, sys
import numpy as np
from liser_ray import Student

sound = np.random.default_rng(0).normal(0, 0.1, 4 * 16_000)
for source in sys.argv[1:]:
    student = Student.from_pretrained(source)
    for _ in range(2):  # before it has predicted, and after
        child = os.fork()
        if not child:
            signal.alarm(60)
            student.predict(sound, 16_000, 0.5)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7, source
        student.predict(sound, 16_000, 0.5)
"""


def test_a_student_that_was_loaded_before_a_fork_predicts_in_the_child(student, student_folder, tmp_path):
    """Elsewhere: the threads of this process are one."""
    (tmp_path / "student.onnx").write_bytes(student.export_onnx())
    command = [sys.executable, "-c", FORKED, str(student_folder), str(tmp_path / "student.onnx")]
    threads = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    subprocess.run(command, env=os.environ | threads, check=True, timeout=120)
