"""The stages of the teachers: labels belong to their clip, and one bad span costs no other."""

import os
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from labeling.tables import open_spans
from media_files import packed
from talking_points import faces_at, loudness, phases_of, sound_of

from liser_ray.labeling.schema import CLIP_VALID, CLIPS, set_columns
from liser_ray.labeling.teacher_stage import CLIP_SHAPE, TeacherStage, predict_spans
from liser_ray.media import yuv
from liser_ray.media.content_hash import digest
from liser_ray.media.flac import decode_flac, encode_flac
from liser_ray.media.outcome import Problem, Reason
from liser_ray.runtime.errors import UserError
from liser_ray.storage.run_record import plain
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.prosody.network import ProsodyNetwork
from liser_ray.teachers.prosody.teacher import write_prosody_network
from liser_ray.teachers.speaks import SpeaksTeacher
from liser_ray.teachers.targets import Target
from liser_ray.teachers.teacher import Answer, Teacher

CPU = torch.device("cpu")
INPUTS = [np.full((2, 3), 1.0), np.full((0, 3), 2.0), np.full((4, 3), 3.0)]  # of three spans


@pytest.fixture(scope="module")
def entries(teachers):
    return {one.name: one for one in read_teachers(teachers.settings)}


@pytest.fixture
def spans(entries):
    return two_spans([target for one in entries.values() for target in one.load(CPU).targets])


def two_spans(targets: Sequence[Target]) -> pa.Table:
    """Two spans as the media stage makes them: two windows each, the second one of the second span invalid."""
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 255, (2, *CLIP_SHAPE), np.uint8) for _ in range(2)]
    for clip in clips:
        clip[:, :, -1] = yuv.OF_RGB
    pcm = [rng.integers(-999, 999, 16_000, np.int16) for _ in range(2)]
    rows = [
        {
            **{"span_id": str(i), "end_s": 1.0, "audio": encode_flac(pcm[i]), "speech_fraction": 1.0},
            **{"clip_start_s": [0.0, 0.53], CLIP_VALID.name: [1.0, 1.0 - i], "speech": [4_000, 12_000]},
            "content_hash": digest(pcm[i]) + digest(clips[i]),
        }
        for i in range(2)
    ]
    return open_spans(targets, rows, clips)


def entry(teacher: Teacher) -> SimpleNamespace:
    """A teacher as the settings name it."""
    return SimpleNamespace(name=teacher.targets[0].name, load=lambda device, precision: teacher)


def stage(*entries, required=("face", "speech"), **settings):
    return TeacherStage(entries, required, "float32", **settings)


def test_a_machine_with_other_teachers_than_the_table_was_begun_with_labels_nothing(entries):
    face = entries["face"]
    (target,) = face.load(CPU).targets
    other = replace(target, name="other", teacher="other")  # of another pool
    recipe = {"targets": [plain(one.to_json()) for one in (target, other)]}
    stage(face, recipe=recipe)
    recipe["targets"][0]["sha256"] = "of other weights"
    with pytest.raises(UserError, match="face is not what it was when this table was begun"):
        stage(face, recipe=recipe)


def test_labels_are_those_of_their_own_clip_in_any_order(spans, entries):
    work = []
    of_faces = stage(entries["face"], drops_clips=True, count=work.append)
    forward = of_faces(spans).to_pylist()
    backward = of_faces(spans.take([1, 0])).to_pylist()[::-1]
    values = [row["targets"]["face"]["values"] for row in forward]
    for row, again in zip(values, backward, strict=True):
        np.testing.assert_allclose(row, again["targets"]["face"]["values"], atol=1e-6)
    assert not np.allclose(values[0][0], values[1][0], atol=1e-6)
    assert values[1][1] == [0.0] * 7
    assert [row["targets"]["face"]["valid"] for row in forward] == [[1.0, 1.0], [1.0, 0.0]]
    assert CLIPS.name not in forward[0]
    assert [(one.spans, one.ended, one.windows, one.slots) for one in work] == [(2, 0, 3, 4)] * 2


def test_sound_says_how_much_of_each_window_is_speech(spans, entries):
    for row in stage(entries["speech"])(spans).to_pylist():
        for name in ("speech_fold_0", "speech_fold_1"):
            target = row["targets"][name]
            assert np.shape(target["values"]) == (2, 4)
            assert (target["start_s"], target["valid"]) == ([0.0, 0.5], [0.5, 0.5])
        assert row["targets"]["face"]["values"] == []


def test_what_a_span_lacks_of_a_window_is_no_silence():
    (energy,) = read_teachers(["energy=energy:"])
    targets = energy.load(CPU).targets
    assert targets[0].window_s == 3
    for row in stage(energy, required=("energy",))(two_spans(targets)).to_pylist():  # of one second
        assert row["targets"]["energy"]["valid"] == [0.5]
        assert row["targets"]["energy"]["values"][0][0] > 0


def test_a_teacher_of_whole_spans_has_one_window_of_each(tmp_path):
    network = ProsodyNetwork(4).eval()
    for fold in (0, 1):
        (tmp_path / f"fold-{fold}").mkdir()
        write_prosody_network(tmp_path / f"fold-{fold}", network, ("a", "b", "c", "d"), "torch")
    (prosody,) = read_teachers([f"prosody=prosody:{tmp_path}/fold-*"])
    teacher = prosody.load(CPU)
    rows = stage(prosody, required=("prosody",))(two_spans(teacher.targets)).to_pylist()
    sounds = [decode_flac(row["audio"]).astype(np.float32) / 32768 for row in rows]
    expected = teacher(sounds)["prosody_fold_1"]
    for row, values, embedding in zip(rows, expected.values, expected.embedding, strict=True):
        target = row["targets"]["prosody_fold_1"]
        assert (target["start_s"], target["valid"]) == ([0.0], [0.5])
        np.testing.assert_allclose(target["values"], values[None], atol=1e-6)
        np.testing.assert_allclose(target["embedding"], embedding[None], atol=1e-3)


def test_clips_and_sound_that_changed_on_their_way_are_not_labeled(spans, entries):
    changed = set_columns(spans, {name: spans[name].take([1, 0]) for name in (CLIPS.name, "audio")})
    for name, one in entries.items():
        for row in stage(one)(changed).to_pylist():
            assert (row["status"], row["stage"], row["reason"]) == ("failed", name, "hash_mismatch")
            assert all(target["values"] == [] for target in row["targets"].values())


class Loudness(Teacher):
    """A scalar of sound that fails on the second span."""

    targets = (Target("loudness", "scalar", ("loudness",), 0.5, 0.5, "", "loudness", embedding_size=2),)

    def __call__(self, windows):
        if len(windows) == 2 and windows[0][0] == self.fails_on:
            raise RuntimeError("too loud")
        if self.fails_on in [one[0] for one in windows]:
            raise RuntimeError("one of them")
        loudest = np.array([[np.abs(one).max()] for one in windows], np.float32)
        return {"loudness": Answer(loudest, np.hstack([loudest, -loudest]).astype(np.float16))}


@pytest.mark.parametrize("required", [(), ("loudness",)])
def test_a_teacher_that_fails_costs_its_target_and_the_row_only_if_it_is_required(required):
    spans, teacher = two_spans(Loudness.targets), Loudness()
    teacher.fails_on = decode_flac(spans["audio"][1].as_py()).astype(np.float32)[0] / 32768
    good, bad = stage(entry(teacher), required=required)(spans).to_pylist()
    found = good["targets"]["loudness"]
    assert len(found["values"]) == 2
    np.testing.assert_allclose(
        found["embedding"], np.hstack([found["values"], np.negative(found["values"])]), rtol=1e-3
    )
    assert bad["targets"]["loudness"]["values"] == bad["targets"]["loudness"]["embedding"] == []
    assert "RuntimeError: too loud" in bad["detail"]
    assert (bad["status"], bad["reason"]) == (("failed", "teacher_error") if required else ("", ""))
    assert (good["status"], good["detail"]) == ("", "")


def stacked(windows):
    return np.reshape(windows, (len(windows), 3))


class Asked(Teacher):
    """Says what a function does, of one target of as many values as labels."""

    def __init__(self, predict, name, labels, kind="scalar"):
        self.targets, self._predict = (Target(name, kind, tuple(labels), 0.5, 0.5, "0" * 64, name),), predict

    def __call__(self, windows):
        return self._predict(windows)


def test_all_windows_go_in_one_call_and_come_back_to_their_spans():
    calls = []

    def predict(windows):
        calls.append(len(windows))
        return {"face": Answer(stacked(windows)[:, :2] * 10)}

    teacher = Asked(predict, "face", "ab")
    values = [one["face"].values for one in predict_spans(teacher, INPUTS, "face")]
    assert calls == [6]
    assert [one.shape for one in values] == [(2, 2), (0, 2), (4, 2)]
    assert [one.max(initial=0) for one in values] == [10, 0, 30]
    assert predict_spans(teacher, [], "face") == []


def out_of_memory(windows):
    if (stacked(windows) == 3).any():
        raise RuntimeError("out of memory")
    return {"speech": Answer(stacked(windows))}


def not_finite(windows):
    return {"speech": Answer(np.where(stacked(windows) == 3, np.nan, stacked(windows)))}


@pytest.mark.parametrize(
    ("predict", "detail"),
    [
        (out_of_memory, "RuntimeError: out of memory"),
        (not_finite, "FloatingPointError: numbers that are not finite"),
    ],
)
def test_a_span_that_a_teacher_can_not_take_costs_no_other(predict, detail):
    first, second, third = predict_spans(Asked(predict, "speech", "abc"), INPUTS, "speech")
    assert first["speech"].values.shape == (2, 3)
    assert second["speech"].values.shape == (0, 3)
    assert third == Problem("speech", Reason.TEACHER_ERROR, detail)


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (lambda n: np.full((n, 4), 0.25), "distribution", "values of face are (2, 4), not (2, 2)"),
        (lambda n: np.full((n + 1, 2), 0.5), "distribution", "values of face are (3, 2), not (2, 2)"),
        (lambda n: np.full(n, 0.5), "scalar", "values of face are (2,), not (2, 2)"),
        (lambda n: np.full((n, 2), 3.0), "distribution", "no probabilities: they do not sum to 1"),
        (None, "scalar", "KeyError: 'face'"),
    ],
    ids=["columns", "rows", "one dimension", "logits", "nothing"],
)
def test_answers_that_are_not_as_the_target_says_end_the_span_in_words(values, kind, words):
    def predict(windows):
        return {"face": Answer(values(len(windows)))} if values else {}

    (found,) = predict_spans(Asked(predict, "face", "ab", kind), INPUTS[:1], "face")
    assert found.reason == Reason.TEACHER_ERROR
    assert words in found.detail


@pytest.mark.parametrize("lost", [True, False])
def test_a_worker_whose_gpu_is_lost_ends_and_does_not_fail_the_rest(monkeypatch, lost):
    def synchronize():
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def kill(pid, number):
        raise SystemExit(f"{number.name} to {pid}")

    def predict(windows):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(os, "kill", kill)
    if lost:
        with pytest.raises(SystemExit, match=f"SIGKILL to {os.getpid()}"):
            predict_spans(predict, INPUTS, "face")
    else:
        found = predict_spans(predict, INPUTS, "face")
        assert [one.reason for one in found] == [Reason.TEACHER_ERROR] * 3


class PointsByColour(torch.nn.Module):
    """Landmarks whose mouth is where the brightness of the picture says: a whole circle from black to white."""

    def points(self, frames):
        phases = frames.mean(dim=(1, 2, 3)).numpy() * 2 * np.pi
        return torch.from_numpy(faces_at(phases).astype(np.float32))


def speaks(threshold):
    return entry(SpeaksTeacher("speaks", PointsByColour(), "", threshold, CPU))


class Brightness(Teacher):
    """A scalar of clips."""

    takes = "clips"
    targets = (Target("brightness", "scalar", ("brightness",), 16 / 30, 16 / 30, "", "brightness"),)

    def __call__(self, windows):
        return {"brightness": Answer(np.array([[one.mean()] for one in windows], np.float32).reshape(-1, 1))}


BRIGHT = entry(Brightness())


def spans_of(people, n_windows=6, spoken=1.0):
    """A span for each (seed of the mouth, 0: still, and seed of the sound), of which the first share is speech."""
    rows, clips = [], []
    for mouth, heard in people:
        phases = phases_of(loudness(mouth, 16 * n_windows) * (mouth > 0)) / (2 * np.pi) % 1
        grays = [packed(np.full((224, 224, 3), gray, np.uint8)) for gray in np.round(phases * 255)]
        clips.append(np.stack(grays).reshape(n_windows, *CLIP_SHAPE))
        pcm = sound_of(loudness(heard, 16 * n_windows))
        start_s = (np.arange(n_windows) * 16 / 30).tolist()
        rows.append({
            "audio": encode_flac(pcm), "speech": [0, round(len(pcm) * spoken)], "clip_start_s": start_s,
            "clip_valid": [1.0] * n_windows, "content_hash": digest(pcm) + digest(clips[-1]),
        })  # fmt: skip
    targets = [*speaks(0).load(CPU, "float32").targets, *Brightness.targets]
    return open_spans(targets, rows, clips)


def test_a_face_that_does_not_speak_is_filtered_and_nobody_else_is_asked_about_it():
    spans = spans_of([(1, 1), (0, 2)])
    speaker, listener = stage(speaks(0.6), BRIGHT, required=("speaks", "brightness"))(spans).to_pylist()
    assert min(map(min, speaker["targets"]["speaks"]["values"])) > 0.6
    assert speaker["targets"]["speaks"]["valid"] == speaker["targets"]["brightness"]["valid"] == [1.0] * 6
    assert (speaker["status"], listener["status"], listener["stage"]) == ("", "filtered", "speaks")
    assert listener["reason"] == "not_speaking"
    assert "in 6 windows" in listener["detail"]
    assert len(listener["targets"]["speaks"]["values"]) == 6
    assert listener["targets"]["brightness"]["values"] == []


def test_where_speaking_is_not_required_its_windows_are_invalid_for_later_teachers_in_any_pool():
    spans = stage(speaks(0.6), required=())(spans_of([(0, 2), (1, 1)]))
    listener, speaker = stage(BRIGHT, required=())(spans).to_pylist()
    assert (listener["status"], speaker["status"]) == ("", "")
    assert listener["targets"]["speaks"]["valid"] == [1.0] * 6
    assert listener["targets"]["brightness"]["valid"] == [0.0] * 6
    assert speaker["targets"]["brightness"]["valid"] == [1.0] * 6


@pytest.mark.parametrize(("threshold", "spoken", "n_windows"), [(-1, 1.0, 6), (1, 0.0, 6), (1, 1.0, 2)])
def test_a_face_of_which_nothing_is_known_or_asked_stays_as_it_is(threshold, spoken, n_windows):
    """Whatever it correlates by, without speech, or in less than two seconds."""
    spans = spans_of([(0, 2)], n_windows, spoken)
    (row,) = stage(speaks(threshold), BRIGHT, required=("speaks", "brightness"))(spans).to_pylist()
    assert row["status"] == ""
    assert row["targets"]["speaks"]["valid"] == [float(threshold < 0)] * n_windows
    assert row["targets"]["brightness"]["valid"] == [1.0] * n_windows


def test_a_changed_sound_is_not_compared_with_a_face():
    spans = spans_of([(1, 1), (1, 2)])
    changed = set_columns(spans, {"audio": spans["audio"].take([1, 0])})
    for row in stage(speaks(0.2), required=("speaks",))(changed).to_pylist():
        assert (row["status"], row["stage"], row["reason"]) == ("failed", "speaks", "hash_mismatch")
        assert row["targets"]["speaks"]["values"] == []
