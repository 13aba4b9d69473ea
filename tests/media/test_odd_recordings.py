"""Recordings that every player plays and that are easily got wrong in silence: tracks, channels, colours, stills."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import soundfile
from media_files import moving_gradient, write_video
from odd_files import Sound, rename_codec, write_hdr, write_tracks
from talking_heads import portrait_at, voice, write_talking_head

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.probe import judge
from liser_ray.corpora.speech import read_waveform
from liser_ray.media import span as spans
from liser_ray.media.clips import crop_face
from liser_ray.media.detector import Face
from liser_ray.media.faces import FaceConfig
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.media.span import MediaConfig, Needs, prepare_span
from liser_ray.media.track_choice import ANY, Wanted
from liser_ray.media.waveform import WaveformError
from liser_ray.media.yuv import rgb
from liser_ray.prediction.sound import ArrayReader

TIMES = np.arange(16_000 * 32 // 10) / 16_000
SILENCE = np.zeros(len(TIMES), np.float32)
LOW, HIGH = (0.3 * np.sin(2 * np.pi * hz * TIMES).astype(np.float32) for hz in (200, 900))
CONFIG = MediaConfig(faces=FaceConfig("opencv"))
EVERYTHING = Needs()
SOUND = Needs(clips=False, face=False, speech=False)


@pytest.fixture(autouse=True)
def forget_reader():
    yield
    spans._close_reader()


def heard(path, wanted=ANY, end_s=3.0):
    """Loudest frequency (rounded to 100 Hz) of a span, and what is said of it."""
    with Reader(str(path), wanted=wanted) as reader:
        stream = reader.span(0, end_s)
        return loudest_hz(stream.pcm()), stream.note


def loudest_hz(pcm):
    assert np.abs(pcm).max() > 1000
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return round(np.argmax(spectrum) * 16_000 / len(pcm), -2)


def ending(path, config=CONFIG, needs=EVERYTHING, end_s=3.0):
    """(reason, detail) of a span, the reason None if it is of use."""
    try:
        media = prepare_span(str(path), 0.0, end_s, config, needs)
    except MediaError as error:
        return error.reason, error.detail
    return (media.problem.reason, media.problem.detail) if media.problem else (None, media.note)


class TestDecoders:
    @pytest.mark.parametrize("code", [b"ac-4", b"mhm1", b"what"])
    def test_sound_without_a_decoder_gives_way_to_sound_with_one(self, tmp_path, code):
        path = write_tracks(tmp_path / "a.mp4", [Sound(LOW), Sound(HIGH)])
        rename_codec(path, b"mp4a", code)
        found, note = heard(path)
        assert found == 900
        assert "a:1" in note
        assert "a:0: no decoder for " in note
        assert loudest_hz(read_waveform(str(path))) == 900

    @pytest.mark.parametrize("code", [b"ac-4", b"what"])
    def test_sound_of_which_nothing_can_be_decoded_is_the_files_own_reason(self, tmp_path, code):
        path = rename_codec(write_tracks(tmp_path / "a.mp4", [Sound(LOW)], [moving_gradient]), b"mp4a", code)
        (header,) = read_headers([str(path)])
        problem = judge(header, PlanConfig())
        assert problem.reason == Reason.NO_DECODER
        assert "no decoder for " in problem.detail
        assert code.decode() in problem.detail
        assert ending(path)[0] == Reason.NO_DECODER
        with pytest.raises(WaveformError, match="unreadable: no decoder for "):
            read_waveform(str(path))

    @pytest.mark.parametrize("code", [b"aprn", b"what"])
    def test_pictures_of_which_nothing_can_be_decoded_are_not_truncated(self, tmp_path, code):
        path = rename_codec(write_tracks(tmp_path / "a.mp4", [Sound(LOW)], [moving_gradient]), b"avc1", code)
        (header,) = read_headers([str(path)])
        problem = judge(header, PlanConfig())
        if problem is None:  # FFmpeg has a decoder of that name, which makes nothing of them
            reason, words = ending(path)
            assert (reason, "no decoder for" in words) == (Reason.NO_DECODER, True)
        else:
            assert (problem.reason, "no decoder for" in problem.detail) == (Reason.NO_DECODER, True)
        assert judge(header, PlanConfig(), needs_video=False) is None
        assert heard(path)[0] == 200

    def test_a_file_without_any_decoder_is_no_crash(self, tmp_path):
        path = rename_codec(write_tracks(tmp_path / "a.mp4", [Sound(LOW)]), b"mp4a", b"ac-4")
        (error,) = read_headers([str(path)])
        assert error.reason == Reason.NO_DECODER


class TestTracks:
    def test_a_silent_track_gives_way_though_it_is_the_default(self, tmp_path):
        path = write_tracks(tmp_path / "a.mp4", [Sound(SILENCE, is_default=True), Sound(HIGH)], [moving_gradient])
        found, note = heard(path)
        assert found == 900
        assert note == "sound of track a:1 (a:0: silent)"
        assert loudest_hz(read_waveform(str(path))) == 900

    @pytest.mark.parametrize(
        ("sounds", "wanted", "expected_hz"),
        [
            ([Sound(LOW), Sound(HIGH)], ANY, 200),
            ([Sound(LOW), Sound(HIGH, is_default=True)], ANY, 900),
            ([Sound(LOW, "eng"), Sound(HIGH, "ger")], Wanted(language="de-AT"), 900),
            ([Sound(LOW, "eng"), Sound(HIGH, "ger")], Wanted(language="EN"), 200),
            ([Sound(LOW, "eng", is_default=True), Sound(HIGH, "ger")], Wanted(language="de"), 200),
            ([Sound(LOW), Sound(HIGH)], Wanted(audio=1), 900),
            ([Sound(SILENCE), Sound(SILENCE), Sound(HIGH)], ANY, 900),
        ],
    )
    def test_the_default_flag_then_the_language_then_the_order_decide(self, tmp_path, sounds, wanted, expected_hz):
        assert heard(write_tracks(tmp_path / "a.mkv", sounds), wanted)[0] == expected_hz

    def test_sound_that_starts_late_is_not_silent(self, tmp_path):
        late = np.concatenate([np.zeros(16_000 * 12, np.float32), np.tile(HIGH, 4)])
        path = write_tracks(tmp_path / "a.mkv", [Sound(late), Sound(np.tile(LOW, 10))], duration_s=24)
        assert loudest_hz(read_waveform(str(path))) == 900

    def test_a_track_that_is_not_there_is_a_reason(self, tmp_path):
        path = write_tracks(tmp_path / "a.mkv", [Sound(LOW)], [moving_gradient])
        (header,) = read_headers([str(path)], (), Wanted(audio=3))
        assert judge(header, PlanConfig()).detail == "no sound track a:3"
        assert ending(path, MediaConfig(audio_track=3), SOUND) == (Reason.NO_AUDIO, "no sound track a:3")

    def test_pictures_can_be_chosen(self, tmp_path):
        frames = [lambda _: np.zeros((48, 64, 3), np.uint8), lambda _: np.full((48, 64, 3), 255, np.uint8)]
        path = write_tracks(tmp_path / "a.mkv", [Sound(LOW)], frames, duration_s=1.0)
        for number, brightness in ((None, 0), (0, 0), (1, 255)):
            with Reader(str(path), wanted=Wanted(video=number)) as reader:
                assert abs(next(iter(reader.span(0, 0.5))).gray(8, 8).mean() - brightness) < 3


class TestChannels:
    @pytest.mark.parametrize("n_channels", [9, 17, 32, 60, 63, 100])
    def test_layouts_that_nobody_knows_are_averaged(self, tmp_path, n_channels):
        loudness = np.random.default_rng(0).uniform(0, 2, n_channels)
        path = tmp_path / "a.wav"
        soundfile.write(path, HIGH[:8000, None] * loudness, 16_000)
        pcm = read_waveform(str(path)) / 32768
        np.testing.assert_allclose(pcm, soundfile.read(path)[0].mean(axis=1), atol=2e-4)
        assert heard(path, end_s=0.5) == (900, f"mean of {n_channels} channels of no known layout")

    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
    def test_a_channel_that_is_the_other_inverted_does_not_silence_it(self, tmp_path, suffix):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, np.stack([HIGH, -HIGH], 1), 16_000)
        pcm = read_waveform(str(path)) / 32768
        assert np.sqrt(np.mean(np.square(pcm))) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
        found, note = heard(path)
        assert found == 900
        assert "of 2 alone, since the channels cancel out" in note

    @pytest.mark.parametrize("constant", [0.0, 0.05])
    def test_arrays_with_an_inverted_channel_are_heard_as_well(self, constant):
        """With a constant that both channels have, too: it is no sound that would be left of them."""
        reader = ArrayReader(16_000)
        pair = np.stack([HIGH, -HIGH]) + np.float32(constant)
        found = np.concatenate([reader.add(pair[:, :800]), reader.add(pair[:, 800:])])
        np.testing.assert_array_equal(found, pair[0] if not constant else found)
        assert np.std(found) == pytest.approx(np.std(HIGH), rel=1e-3)

    def test_two_channels_of_a_layout_that_ffmpeg_does_not_mix_are_averaged(self, tmp_path):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.stack([HIGH, HIGH], 1), 16_000, format="WAVEX")
        data = path.read_bytes()
        mask = data.index(b"fmt ") + 8 + 20
        path.write_bytes(data[:mask] + (0x600).to_bytes(4, "little") + data[mask + 4 :])  # side left, side right
        np.testing.assert_allclose(read_waveform(str(path)) / 32768, HIGH, atol=1e-3)

    def test_what_a_recorder_leaves_out_stays_a_gap(self, tmp_path):
        """As in a labeling job, so that what is said later is said then."""
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("pcm_s16le", rate=16_000, layout="mono")
            for start_s in (0, 3):
                frame = av.AudioFrame.from_ndarray((HIGH[None, :16_000] * 32767).astype(np.int16), "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = 16_000, 16_000 * start_s, Fraction(1, 16_000)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        pcm = read_waveform(str(path))
        assert len(pcm) == pytest.approx(64_000, abs=160)
        assert not pcm[16_800:47_200].any()
        assert loudest_hz(pcm[:16_000]) == loudest_hz(pcm[48_000:]) == 900

    def test_what_is_broken_is_no_gap(self, tmp_path):
        path = tmp_path / "a.mka"
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 3000, (1, 160_000)).astype(np.int16)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("flac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(noise, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        with av.open(str(path)) as file:
            packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
        data = path.read_bytes()
        for number, packet in enumerate(packets):
            if number % 5:
                data = data.replace(packet, bytes(len(packet)))
        path.write_bytes(data)
        with pytest.raises(WaveformError, match="can be decoded"):
            read_waveform(str(path))

    @pytest.mark.parametrize("other", [0 * HIGH, HIGH, 0.9 * LOW, -0.5 * HIGH])
    def test_channels_that_do_not_cancel_out_are_mixed_as_ever(self, tmp_path, other):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.stack([HIGH, other], 1), 16_000)
        np.testing.assert_allclose(read_waveform(str(path)) / 32768, (HIGH + other) / 2, atol=1e-4)
        assert heard(path)[1] == ""

    def test_hum_that_cancels_out_before_the_voice_is_no_reason_to_take_one_channel(self, tmp_path):
        hum = 0.01 * LOW
        spoken = np.concatenate([0 * HIGH, HIGH])
        path = tmp_path / "a.wav"
        soundfile.write(path, np.stack([np.tile(hum, 2) + spoken, -np.tile(hum, 2) + spoken], 1), 16_000)
        pcm = read_waveform(str(path)) / 32768
        np.testing.assert_allclose(pcm[-len(HIGH) // 2 :], HIGH[-len(HIGH) // 2 :], atol=1e-3)


class TestColours:
    @pytest.mark.parametrize("transfer", ["pq", "hlg"])
    def test_a_face_in_hdr_looks_as_in_the_ordinary_picture_that_it_was_made_of(self, tmp_path, transfer):
        portrait = portrait_at(0)
        face = Face(89, 45, 70, 86, ((107.5, 78.5), (140.7, 79.3)))
        crops, grays = [], []
        for path in (
            write_hdr(tmp_path / "hdr.mkv", portrait, transfer),
            write_video(tmp_path / "sdr.mkv", [portrait] * 5, 25, codec_options={"crf": "1"}),
        ):
            with Reader(str(path)) as reader:
                stream = reader.span(0, 0.2)
                frame = next(iter(stream))
                crops.append(rgb(crop_face(frame, face, 0.25)).astype(int))
                grays.append(frame.gray(32, 32).astype(int))
                note = stream.note
            assert ("HDR" in note) == (path.name == "hdr.mkv")
        assert np.abs(crops[0] - crops[1]).mean() < 4
        assert np.abs(crops[0].mean((0, 1)) - crops[1].mean((0, 1))).max() < 4  # of each colour
        assert np.abs(grays[0] - grays[1]).mean() < 8

    def test_what_is_brighter_than_white_keeps_its_order(self, tmp_path):
        ramp = np.repeat(np.linspace(0, 255, 64)[None, :, None], 48, 0).repeat(3, 2)
        with Reader(str(write_hdr(tmp_path / "a.mkv", ramp * 1.3, "pq"))) as reader:
            row = next(iter(reader.span(0, 0.2))).rgb()[20, :, 1].astype(int)
        assert (np.diff(row) >= 0).all()
        assert row[0] < 5
        assert row[-1] > 245


class TestStills:
    @pytest.mark.parametrize(
        "frames",
        [
            pytest.param(lambda t: portrait_at(0, talks=False), id="still"),
            pytest.param(lambda t: portrait_at(t, talks=False), id="drift"),
            pytest.param(lambda t: _zoomed(portrait_at(0, talks=False), 1 + 0.05 * t), id="zoom"),
            pytest.param(lambda t: _noisy(portrait_at(0, talks=False), t), id="noise"),
        ],
    )
    def test_a_photograph_with_a_voice_says_nothing(self, tmp_path, frames):
        path = write_talking_head(tmp_path / "a.mp4", frames=frames)
        reason, detail = ending(path)
        assert reason == Reason.STILL_FACE
        assert "photograph" in detail

    def test_somebody_who_talks_is_none(self, tmp_path):
        assert ending(write_talking_head(tmp_path / "a.mp4")) == (None, "")

    def test_where_no_face_is_required_its_windows_are_invalid(self, tmp_path):
        path = write_talking_head(tmp_path / "a.mp4", frames=lambda t: portrait_at(0, talks=False))
        media = prepare_span(str(path), 0.0, 3.0, CONFIG, Needs(face=False))
        assert media.problem is None
        assert not media.clip_valid.any()
        assert "photograph" in media.note

    def test_real_people_are_none(self, test_data, yunet_home, monkeypatch):
        monkeypatch.setenv("DEEPFACE_HOME", str(yunet_home))
        for name in ("grid_pwij3p.mpg", "aniportrait_ref.mp4"):  # the stillest
            assert ending(test_data / "talking_heads" / name, MediaConfig(), EVERYTHING, 2.9)[0] is None


@pytest.mark.parametrize("stack", [np.hstack, np.vstack])
def test_one_face_twice_is_two_faces(tmp_path, stack):
    path = write_video(
        tmp_path / "a.mp4",
        lambda t: stack([portrait_at(t)] * 2),
        25,
        duration_s=1.6,
        audio=voice(1.6),
        audio_rate_hz=16_000,
    )
    assert ending(path, end_s=1.6)[0] == Reason.TWO_FACES


def _zoomed(picture, zoom):
    matrix = cv2.getRotationMatrix2D((picture.shape[1] / 2, picture.shape[0] / 2), 0, zoom)
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def _noisy(picture, time_s):
    noise = np.random.default_rng(round(100 * time_s)).normal(0, 6, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)
