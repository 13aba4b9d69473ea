import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from media_files import moving_gradient, voice_like, write_video
from tones import make_tones

from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.segments import Segment
from liser_ray.corpora.speech import load_labeled_speech
from liser_ray.corpora.utterance import LabeledSet, Part, Utterance
from liser_ray.media.reader import Reader
from liser_ray.runtime.errors import UserError

RATE_HZ = 16_000
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def tone(frequency_hz=440.0, duration_s=0.5, rate_hz=RATE_HZ, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)


def write(path, samples=None, rate_hz=RATE_HZ, subtype=None):
    """A file that differs from every other by its pitch, unless samples are given."""
    samples = tone(next(pitches_hz)) if samples is None else samples
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, rate_hz, subtype=subtype)
    return path


pitches_hz = itertools.count(100, 7)


def labeled_set(*rows, name="set"):
    """A set of (path, label, speaker) rows."""
    utterances = tuple(Utterance(str(path), label, speaker) for path, label, speaker in rows)
    return LabeledSet(name, tuple(sorted({one.label for one in utterances})), utterances, {})


def two_good(folder):
    """One recording of each of two labels, so that a set has something to live on."""
    return [(write(folder / "good-x.wav"), "x", "1"), (write(folder / "good-y.wav"), "y", "2")]


def problems_of(speech):
    return {uri.rsplit("/", 1)[1]: reason for uri, reason in speech.problems}


def loudest_hz(pcm):
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return np.argmax(spectrum) * RATE_HZ / len(pcm)


class TestArrays:
    def test_recordings_lie_one_after_the_other_in_the_order_of_the_set(self, tmp_path):
        waves = [np.round(32767 * tone(200 + 50 * k, 0.2 + 0.1 * k)).astype(np.int16) for k in range(6)]
        rows = [(write(tmp_path / f"{k}.wav", wave), "yx"[k % 2], str(k % 3)) for k, wave in enumerate(waves)]
        labeled = replace(labeled_set(*rows), labels=("y", "x"), skipped={"songs": 4})
        speech = load_labeled_speech(labeled)
        assert len(speech) == 6
        assert (speech.pcm.dtype, speech.ends.dtype, speech.label_index.dtype) == (np.int16, np.int64, np.int64)
        assert speech.ends.tolist() == np.cumsum([len(wave) for wave in waves]).tolist()
        assert len(speech.pcm) == speech.ends[-1]
        for k, wave in enumerate(waves):
            np.testing.assert_array_equal(speech.waveform(k), wave)
            assert np.shares_memory(speech.waveform(k), speech.pcm)
        assert (speech.name, speech.labels) == ("set", ("y", "x"))
        assert speech.label_index.tolist() == [0, 1, 0, 1, 0, 1]
        assert speech.speakers == ("0", "1", "2", "0", "1", "2")
        assert speech.uris == tuple(str(path) for path, *_ in rows)
        assert (speech.skipped, speech.problems) == ({"songs": 4}, ())
        for index in (-1, 6):
            with pytest.raises(IndexError):
                speech.waveform(index)

    def test_recordings_of_speakers_and_their_sexes_where_they_are_known(self, tmp_path):
        rows = [(write(tmp_path / f"{k}.wav"), "xy"[k % 2], speaker) for k, speaker in enumerate("aabc")]
        labeled = labeled_set(*rows, (tmp_path / "missing.wav", "x", "d"))
        sexes = ("woman", "", "man", "", "man")
        utterances = tuple(replace(one, sex=sex) for one, sex in zip(labeled.utterances, sexes, strict=True))
        speech = load_labeled_speech(replace(labeled, utterances=utterances))
        assert speech.sexes == {"a": "woman", "b": "man"}
        assert speech.of_speakers({"c", "a"}).tolist() == [0, 1, 3]
        assert speech.of_speakers(["d"]).dtype == np.int64
        assert len(speech.of_speakers(["d"])) == 0

    def test_votes_as_shares_and_the_label_where_nobody_voted(self, tmp_path):
        labeled = labeled_set(*two_good(tmp_path), (write(tmp_path / "c.wav"), "y", "2"))
        assert load_labeled_speech(labeled).votes is None
        votes = ((("x", 3.0), ("y", 1.0)), (), (("x", 2.0),))
        utterances = tuple(replace(one, votes=of) for one, of in zip(labeled.utterances, votes, strict=True))
        speech = load_labeled_speech(replace(labeled, utterances=utterances))
        assert speech.votes.tolist() == [[3, 1], [0, 0], [2, 0]]
        assert speech.vote_shares().tolist() == [[0.75, 0.25], [0, 1], [1, 0]]
        assert speech.vote_shares(equal=True).tolist() == [[1, 0], [0, 1], [1, 0]]

    def test_how_often_is_often_counts_the_labels_of_a_recordings_own_set(self):
        tones, votes = make_tones(("x/1", "y/2"), takes=1), np.tile(np.float32([5, 2, 0]), (6, 1))
        parts = Part("x", ("a", "b", "c"), (0, 1, 2), "x/"), Part("y", ("a", "b"), (0, 1), "y/")
        shares = replace(tones, votes=votes, joined=parts).vote_shares(equal=True)
        np.testing.assert_allclose(shares, [[1, 0, 0]] * 6)  # 2 of 7 are less than a third
        shares = replace(tones, votes=votes + np.float32([0, 1, 0]), joined=parts).vote_shares(equal=True)
        np.testing.assert_allclose(shares, [[0.5, 0.5, 0]] * 3 + [[1, 0, 0]] * 3)  # 3 of 8 are less than a half

    def test_attributes_where_they_are_known(self, tmp_path):
        labeled = labeled_set(*two_good(tmp_path))
        utterances = (labeled.utterances[0], replace(labeled.utterances[1], attributes=(("arousal", 2.0),)))
        assert load_labeled_speech(labeled).attributes == {}
        attributes = load_labeled_speech(replace(labeled, utterances=utterances)).attributes
        np.testing.assert_equal(attributes, {"arousal": np.array([np.nan, 2], np.float32)})


class TestFormats:
    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
    def test_wav_of_any_depth(self, tmp_path, subtype):
        path = write(tmp_path / "a.wav", tone(440, 1.0), subtype=subtype)
        speech = load_labeled_speech(labeled_set((path, "x", "1")))
        error = speech.waveform(0) / 32768 - tone(440, 1.0)
        assert np.abs(error).max() < (0.02 if subtype in {"PCM_U8", "ULAW"} else 1e-4)

    def test_float_sound_beyond_full_scale_is_clipped(self, tmp_path):
        path = write(tmp_path / "a.wav", tone(440, amplitude=3.0), subtype="FLOAT")
        wave = load_labeled_speech(labeled_set((path, "x", "1"))).waveform(0)
        assert (wave.max(), wave.min()) == (32767, -32768)

    @pytest.mark.parametrize("name", ["a.flac", "a.aiff", "a.mp3", "a.ogg", "a.opus", "a.m4a", "a.webm", "a.mp4"])
    def test_rates_channels_and_containers(self, tmp_path, name):
        path, rate_hz = tmp_path / name, 48_000
        sound = np.stack([tone(440, 1.0, rate_hz), tone(440, 1.0, rate_hz, 0.25)], axis=1).astype(np.float32)
        if name in {"a.flac", "a.aiff", "a.ogg"}:
            write(path, sound, rate_hz)
        else:
            codec = {"a.mp3": "libmp3lame", "a.m4a": "aac", "a.mp4": "aac"}.get(name, "libopus")
            frames = [moving_gradient(k / 10) for k in range(10)] if name == "a.mp4" else None
            write_video(path, frames, 10, audio=sound, audio_rate_hz=rate_hz, audio_codec=codec)
        speech = load_labeled_speech(labeled_set((path, "x", "1")))
        wave = speech.waveform(0)
        assert len(wave) == pytest.approx(RATE_HZ, abs=0.1 * RATE_HZ)  # encoders add up to two of their frames
        assert loudest_hz(wave) == pytest.approx(440, abs=2)
        middle = wave[4000:12000] / 32768
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.375 / np.sqrt(2), rel=0.05)  # the mean of both channels


class TestSegments:
    """A file of half a second of each of some pitches."""

    PITCHES_HZ = (300, 500, 700, 900)

    def labeled(self, path, *segments):
        utterances = [Utterance(str(path), "xy"[k % 2], str(k), segment=one) for k, one in enumerate(segments)]
        return LabeledSet("set", ("x", "y"), tuple(utterances), {})

    @pytest.fixture(params=["wav", "mp4"])
    def file(self, tmp_path, request):
        sound = np.concatenate([tone(hz, 0.5, 48_000) for hz in self.PITCHES_HZ]).astype(np.float32)
        if request.param == "mp4":
            return write_video(tmp_path / "a.mp4", moving_gradient, duration_s=2.0, audio=sound)
        return write(tmp_path / "a.wav", sound, 48_000)

    def test_only_what_lies_in_a_segment_is_heard(self, file):
        segments = [Segment(k / 2, (k + 1) / 2) for k in range(4)]
        speech = load_labeled_speech(self.labeled(file, *segments))
        for k, hz in enumerate(self.PITCHES_HZ):
            pcm = speech.waveform(k)
            assert len(pcm) == 8000
            for part in (pcm[:2000], pcm[-2000:]):
                assert loudest_hz(part) == pytest.approx(hz, abs=10)
        assert speech.segments == tuple(segments)

    def test_it_is_what_the_labeling_job_decodes_there(self, file):
        with Reader(str(file)) as reader:
            there = reader.span(0.3, 1.45).pcm()
        speech = load_labeled_speech(self.labeled(file, Segment(0.3, 1.45), Segment(1.0, None)))
        np.testing.assert_array_equal(speech.waveform(0), there)
        assert len(speech.waveform(1)) == pytest.approx(16_000, abs=700)

    def test_one_outside_of_its_file_is_named_and_not_padded(self, file):
        fitting = [Segment(0, 1), Segment(1, 2), Segment(0.25, 1.25)]
        outside = [Segment(1, 3), Segment(5, 6), Segment(1, 1)]
        speech = load_labeled_speech(self.labeled(file, *fitting, *outside))
        assert [len(speech.waveform(k)) for k in range(len(speech))] == [16_000] * 3
        assert {which.partition(" ")[2] for which, _ in speech.problems} == {str(one) for one in outside}
        assert speech.skipped == {"unreadable": 3}
        assert "a segment from 1 to 3 s of a file of 2" in speech.problems[0][1]


class TestProblems:
    def test_each_is_skipped_counted_listed_and_logged(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        nan, infinite = tone(), tone()
        nan[100], infinite[-1] = np.nan, np.inf
        (tmp_path / "empty.wav").touch()
        (tmp_path / "text.wav").write_text("hello " * 100)
        (tmp_path / "pointer.wav").write_bytes(LFS_POINTER)
        (tmp_path / "folder.wav").mkdir()
        write(tmp_path / "no-samples.wav", np.zeros(0))
        write(tmp_path / "short.wav", tone(duration_s=0.01))
        write(tmp_path / "zeros.wav", np.zeros(RATE_HZ))
        write(tmp_path / "quiet.wav", tone(amplitude=0.9e-4))
        write(tmp_path / "nan.wav", nan, subtype="FLOAT")
        write(tmp_path / "inf.wav", infinite, subtype="DOUBLE")
        write_video(tmp_path / "mute.mp4", [moving_gradient(k / 10) for k in range(5)], 10)
        good = [(write(tmp_path / f"good-{k}.wav"), "xy"[k % 2], str(k)) for k in range(8)]
        good += [(write(tmp_path / "barely.wav", tone(duration_s=0.1, amplitude=2e-4), subtype="FLOAT"), "x", "1")]
        names = ["empty", "text", "pointer", "folder", "no-samples", "short", "zeros", "quiet", "nan", "inf", "missing"]
        bad = [(tmp_path / f"{name}.wav", "x", "1") for name in names] + [(tmp_path / "mute.mp4", "y", "2")]
        speech = load_labeled_speech(labeled_set(*bad, *good))
        assert speech.uris == tuple(str(path) for path, *_ in good)
        counts = {"empty": 2, "unreadable": 5, "shorter than 0.1 s": 1, "silent": 2, "not finite": 2}
        assert speech.skipped == counts
        assert "set: 9 recordings of 8 speakers, 0.00 h; skipped: 2 empty, 2 not finite" in caplog.text
        found = problems_of(speech)
        assert list(found) == [path.name for path, *_ in bad]
        assert found["empty.wav"] == "empty: 0 bytes"
        assert found["no-samples.wav"].startswith("empty")
        assert found["pointer.wav"] == "unreadable: a Git LFS pointer in place of the recording; run git lfs pull"
        assert found["mute.mp4"] == "unreadable: no sound track"
        assert found["short.wav"] == "shorter than 0.1 s: 0.010 s"
        assert found["text.wav"].startswith("unreadable: no container")
        assert found["missing.wav"] == "unreadable: there is no such file"
        assert found["quiet.wav"].startswith("silent")
        assert {found["nan.wav"], found["inf.wav"]} == {"not finite: NaN or infinite samples"}

    def test_a_damaged_recording_is_used_if_most_of_it_is_left(self, tmp_path):
        sound = voice_like(np.arange(3 * RATE_HZ) / RATE_HZ)
        whole = write(tmp_path / "whole.flac", sound).read_bytes()
        (tmp_path / "most.flac").write_bytes(whole[: len(whole) * 8 // 10])
        (tmp_path / "little.flac").write_bytes(whole[: len(whole) // 5])
        rows = [(tmp_path / "most.flac", "x", "1"), (tmp_path / "little.flac", "x", "1"), *two_good(tmp_path)]
        speech = load_labeled_speech(labeled_set(*rows))
        assert list(problems_of(speech)) == ["little.flac"]
        assert problems_of(speech)["little.flac"].startswith("unreadable: only 0.")
        assert 2.0 < len(speech.waveform(0)) / RATE_HZ < 2.6

    def test_the_first_of_equal_recordings_is_kept(self, tmp_path):
        sound = np.round(32767 * tone(333)).astype(np.int16)
        paths = [tmp_path / "a/1.wav", tmp_path / "b/1.flac", tmp_path / "b/2.wav"]
        for path in paths:
            write(path, sound)
        speech = load_labeled_speech(labeled_set(*[(path, "x", "1") for path in paths], *two_good(tmp_path)))
        assert speech.uris[0] == str(paths[0])
        assert (len(speech), speech.skipped) == (3, {"duplicate": 2})
        assert speech.problems[0] == (str(paths[1]), f"duplicate: the same sound as {paths[0]}")

    @pytest.mark.parametrize("other", [("y", "1"), ("x", "2")])
    def test_equal_recordings_that_contradict_each_other_are_all_dropped(self, tmp_path, other):
        rows = [("a", "x", "1"), ("b", "x", "1"), ("c", *other)]
        rows = [(write(tmp_path / f"{name}.wav", tone(333)), *meaning) for name, *meaning in rows]
        speech = load_labeled_speech(labeled_set(*rows, *two_good(tmp_path)))
        assert (len(speech), speech.skipped) == (2, {"contradicting duplicates": 3})
        assert f"{other[0]} of speaker {other[1]}" in problems_of(speech)["a.wav"]


class TestTooLittleLeft:
    @pytest.mark.parametrize(
        ("pointers", "silent", "labels", "words"),
        [
            (3, 0, "xy", "3 of 5 recordings can't be read. The first: {}/p0.wav: unreadable: a Git LFS pointer"),
            (0, 1, "xyz", "none of the 1 recordings of the label 'z' can be used. The first: {}/s0.wav: silent"),
            (0, 0, "wxy", "no recording of the label 'w'"),
            (2, 0, "xy", ""),  # half of them is not most
        ],
    )
    def test_said(self, tmp_path, pointers, silent, labels, words):
        rows = two_good(tmp_path)
        for k in range(pointers):
            (tmp_path / f"p{k}.wav").write_bytes(LFS_POINTER)
            rows.append((tmp_path / f"p{k}.wav", "xyx"[k], "1"))
        rows += [(write(tmp_path / f"s{k}.wav", np.zeros(RATE_HZ)), "z", "1") for k in range(silent)]
        labeled = replace(labeled_set(*rows), labels=tuple(labels))
        if not words:
            assert len(load_labeled_speech(labeled)) == 2
            return
        with pytest.raises(UserError) as refused:
            load_labeled_speech(labeled)
        assert words.format(tmp_path) in str(refused.value)


class TestCorpora:
    def test_ravdess(self, test_data):
        labeled = read_labeled_set(f"ravdess:{test_data / 'ravdess'}")
        two = tuple(one for one in labeled.utterances if one.speaker in {"1", "24"})
        speech = load_labeled_speech(replace(labeled, utterances=two))
        assert len(speech) == 120
        assert len(speech.of_speakers({"24"})) == 60
        assert np.bincount(speech.label_index).tolist() == [8] + [16] * 7
        lengths_s = np.diff(speech.ends, prepend=0) / RATE_HZ
        assert 2.5 < lengths_s.min() < lengths_s.max() < 6
        assert speech.problems == ()

    def test_a_manifest_on_s3(self, tmp_path, s3_store):
        bucket = s3_store.bucket()
        for path, *_ in two_good(tmp_path):
            s3_store.client.upload_file(str(path), bucket, f"a b/{path.name}")
        text = "path,label,speaker\ngood-x.wav,x,1\ngood-y.wav,y,2\ngone.wav,y,2\n"
        s3_store.client.put_object(Bucket=bucket, Key="a b/set.csv", Body=text.encode())
        speech = load_labeled_speech(read_labeled_set(f"s3://{bucket}/a b/set.csv"))
        assert speech.uris == (f"s3://{bucket}/a b/good-x.wav", f"s3://{bucket}/a b/good-y.wav")
        np.testing.assert_array_equal(speech.waveform(0), sf.read(tmp_path / "good-x.wav", dtype="int16")[0])
        assert speech.skipped == {"unreadable": 1}
