"""Recordings, a span at a time: right pictures and sound at the right times, and what becomes of broken files."""

import gc
import io
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media_files import moving_gradient, voice_like, write_flash_click, write_video

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.probe import judge
from liser_ray.media import source
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader

AAC_TOLERANCE_S = 0.01  # a 5-ms click through AAC's 21-ms blocks has a soft start
NTSC = Fraction(30_000, 1001)


def read(reader, start_s, end_s):
    """(brightness per cell or -1, sound) of a span."""
    stream = reader.span(start_s, end_s)
    cells = np.full(stream.n_cells, -1.0)
    for frame in stream:
        cells[frame.first_cell : frame.first_cell + frame.n_cells] = frame.gray(16, 16).mean()
    return cells, stream.pcm()


def spans_as_bytes(reader, spans):
    """Everything a span gives, for comparison byte for byte."""
    found = []
    for start_s, end_s in spans:
        stream = reader.span(start_s, end_s)
        frames = [(f.first_cell, f.n_cells, f.rgb().tobytes()) for f in stream]
        found.append((frames, stream.pcm().tobytes() if reader.header.has_audio else b""))
    return found


def click_start_s(pcm):
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 3000)
    return loud[0] / 16_000


def cells_of_flashes(times, flashes_s, start_s, n_cells):
    """Which cells of a span show the picture that was on display at a flash, for pictures at these times."""
    middles = start_s + (np.arange(n_cells) + 0.5) / 30
    cells = np.zeros(n_cells, bool)
    for flash_s in flashes_s:
        shown = max(t for t in times if t <= flash_s + 1e-9)
        until = min(t for t in times if t > flash_s + 1e-9)
        cells |= (shown <= middles + 0.001) & (middles + 0.001 < until)
    return cells


def variable_times(duration_s):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.06, int(duration_s * 40)))
    return [0.0, *np.round(times[times < duration_s], 4).tolist()]


RATES = [22, 25, NTSC, 30, 50, 60, "variable"]


@pytest.fixture(scope="module")
def flash_clips(tmp_path_factory):
    """A clip of 6 s per rate, with a flash and a click at 0.9 s and 4.2 s, key frames 2 s apart."""
    folder = tmp_path_factory.mktemp("flash")
    clips = {}
    for rate in RATES:
        variable = rate == "variable"
        clips[rate] = write_flash_click(
            folder / f"{float(30 if variable else rate):.2f}{variable}.mp4",
            30 if variable else rate,
            [0.9, 4.2],
            duration_s=6,
            pts_s=variable_times(6) if variable else None,
            codec_options={"g": str(2 * round(30 if variable else float(rate))), "bf": "2"},
        )
    return clips


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("start_s", "end_s", "flash_s"), [(0.0, 2.0, 0.9), (3.0, 6.0, 4.2), (0.0, 6.0, 0.9)])
def test_a_flash_and_a_click_land_where_they_belong(flash_clips, rate, start_s, end_s, flash_s):
    with Reader(str(flash_clips[rate])) as reader:
        cells, pcm = read(reader, start_s, end_s)
        times = variable_times(6) if rate == "variable" else [float(k / Fraction(rate)) for k in range(400)]
    assert (cells >= 0).all(), "a cell without a picture"
    np.testing.assert_array_equal(cells > 128, cells_of_flashes(times, (0.9, 4.2), start_s, len(cells)))
    window = int((flash_s - start_s) * 30) // 16
    bright = np.flatnonzero(cells > 128)
    if len(bright):  # at 60 fps a picture may fall between two middles
        assert window in set(bright // 16)
    assert abs(start_s + click_start_s(pcm) - flash_s) < AAC_TOLERANCE_S


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_webcam_recording_of_a_browser(tmp_path, codec):
    """Milliseconds that jitter, and a header without rate and length: FFmpeg guesses 1000 pictures a second."""
    times = [0.0, *np.round(np.arange(1, 180) / 30 + np.random.default_rng(0).uniform(0, 0.016, 179), 3).tolist()]
    path = write_flash_click(
        tmp_path / "a.webm",
        30,
        [0.9, 4.2],
        duration_s=6,
        pts_s=times,
        codec=codec,
        codec_options={"cpu-used": "8", "g": "60"},
        audio_codec="libopus",
        container_options={"live": "1"},
    )
    data = path.read_bytes()
    rate, nothing = bytes.fromhex("23e38384"), bytes.fromhex("ec86")  # DefaultDuration of 4 bytes, Void of 6
    assert data.count(rate) == 1
    path.write_bytes(data.replace(data[data.index(rate) :][:8], nothing + bytes(6)))
    (header,) = read_headers([str(path)])
    assert judge(header, PlanConfig()) is None
    assert header.frame_rate_hz == 0
    assert header.duration_s == pytest.approx(6, abs=0.1)
    with Reader(str(path)) as reader:
        for start_s, end_s, click_s in [(0, 3, 0.9), (3, 6, 4.2)]:
            cells, pcm = read(reader, start_s, end_s)
            assert (cells >= 0).all()
            np.testing.assert_array_equal(cells > 128, cells_of_flashes(times, (0.9, 4.2), start_s, len(cells)))
            assert abs(start_s + click_start_s(pcm) - click_s) < AAC_TOLERANCE_S


def test_pictures_at_30_fps_are_all_shown_once(tmp_path):
    frames = [np.full((32, 32, 3), 20 + 2 * k, np.uint8) for k in range(90)]
    for name in ("a.mp4", "a.mkv", "a.ts"):
        path = write_video(tmp_path / name, frames, 30, audio=voice_like, duration_s=3, codec_options={"crf": "1"})
        with Reader(str(path)) as reader:
            cells, _ = read(reader, 0, 3)
        steps = np.diff(cells[cells >= 0])
        assert (steps > 0.5).all(), name
        assert (cells >= 0).sum() >= 88, name  # a transport stream's video may start a little after its sound


def test_long_span_in_the_middle(tmp_path):
    path = write_flash_click(tmp_path / "a.mp4", 25, [20.0], duration_s=24, codec_options={"g": "250"})
    with Reader(str(path)) as reader:
        cells, pcm = read(reader, 16.0, 24.0)
    assert np.flatnonzero(cells > 128)[0] == 4 * 30
    assert len(pcm) == 8 * 16_000
    assert abs(click_start_s(pcm) - 4.0) < AAC_TOLERANCE_S


def test_sound_is_exact_where_the_codec_is(tmp_path):
    path = write_video(
        tmp_path / "a.mkv",
        moving_gradient,
        25,
        duration_s=3,
        audio=voice_like,
        audio_rate_hz=16_000,
        audio_codec="pcm_s16le",
    )
    expected = np.round(voice_like(np.arange(48_000) / 16_000) * 32767)
    with Reader(str(path)) as reader:
        _, pcm = read(reader, 0, 3)
        _, middle = read(reader, 1.2, 2.2)
    assert np.abs(pcm - expected).max() <= 1
    assert np.abs(middle - expected[19_200:35_200]).max() <= 1


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 44_100, 48_000])
def test_resampling_keeps_time_and_level(tmp_path, rate_hz):
    path = write_video(
        tmp_path / "a.wav", None, audio=voice_like, duration_s=2, audio_rate_hz=rate_hz, audio_codec="pcm_s16le"
    )
    expected = voice_like(np.arange(32_000) / 16_000) * 32767
    with Reader(str(path)) as reader:
        assert not reader.header.has_video
        pcm = reader.span(0, 2).pcm()
        part = reader.span(1, 1.5).pcm()
    assert np.abs(pcm - expected)[200:-200].max() < 60
    exact = voice_like((16_000 + np.arange(8000)[:, None] + np.linspace(-0.5, 0.5, 11)) / 16_000) * 32767
    assert np.abs(part[:, None] - exact).max(0).min() < 150  # a part starts at the nearest sample


def test_stereo_is_the_mean_of_both_channels(tmp_path):
    both = np.stack([np.full(32_000, 0.5), np.full(32_000, -0.1)], 1)
    path = write_video(tmp_path / "a.wav", None, audio=both, audio_rate_hz=16_000, audio_codec="pcm_s16le")
    with Reader(str(path)) as reader:
        pcm = reader.span(0, 2).pcm()
    assert np.abs(pcm / 32_767 - 0.2).max() < 0.001


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("video_start_s", "audio_start_s"), [(0.0, 0.5), (0.5, 0.0)])
def test_offsets_between_picture_and_sound_are_kept(tmp_path, suffix, video_start_s, audio_start_s):
    path = write_flash_click(
        tmp_path / f"a.{suffix}",
        30,
        [1.0],
        duration_s=3,
        video_start_s=video_start_s,
        audio_start_s=audio_start_s,
        audio_codec="pcm_s16le" if suffix == "mkv" else "aac",
    )
    with Reader(str(path)) as reader:
        cells, pcm = read(reader, 0, 3)
    assert (np.flatnonzero(cells > 128)[0] + 0.5) / 30 == pytest.approx(1.0 + video_start_s, abs=1 / 30)
    assert (cells[: int(video_start_s * 30)] == -1).all()
    assert click_start_s(pcm) == pytest.approx(1.0 + audio_start_s, abs=0.025)


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_rotation(tmp_path, rotation_deg):
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48, 0] = upright[:32, 48:, 1] = upright[32:, :48, 2] = 220  # red, green over blue, black
    stored = np.ascontiguousarray(np.rot90(upright, -rotation_deg // 90))
    path = write_video(tmp_path / "a.mp4", [stored] * 10, 30, rotation_deg=rotation_deg)
    with Reader(str(path)) as reader:
        frame = next(iter(reader.span(0, 0.3)))
    assert frame.size == (96, 64)
    image = frame.rgb()
    assert image.shape == (64, 96, 3)
    corners = [image[16, 24], image[16, 72], image[48, 24]]
    assert [int(c.argmax()) for c in corners] == [0, 1, 2]
    assert frame.rgb(48, 32).shape == (32, 48, 3)
    assert frame.gray(48, 32).shape == (32, 48)
    assert image[48, 72].max() < 60


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["hflip", "vflip"])
def test_mirrored_pictures_are_shown_as_they_are_meant(tmp_path, rotation_deg, flip):
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48, 0] = upright[:32, 48:, 1] = upright[32:, :48, 2] = 220
    stored = np.ascontiguousarray(np.rot90(upright[:, ::-1] if flip == "hflip" else upright[::-1], -rotation_deg // 90))
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = stored.shape[:2]
        stream.set_display_rotation(rotation_deg, **{flip: True})
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "rgb24")))
        container.mux(stream.encode(None))
    with Reader(str(path)) as reader:
        frame = next(iter(reader.span(0, 0.1)))
    assert frame.size == (96, 64)
    assert frame.mirrored
    image = frame.rgb()
    assert [int(corner.argmax()) for corner in (image[16, 24], image[16, 72], image[48, 24])] == [0, 1, 2]
    assert image[48, 72].max() < 60


@pytest.mark.parametrize(("exif_orientation", "rotation_deg"), [(1, 0), (3, 180), (6, 270), (8, 90)])
def test_pictures_of_a_photo_camera_are_turned_by_their_exif(tmp_path, exif_orientation, rotation_deg):
    """PyAV does not know this kind of data."""
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :, 0] = 220
    stored = np.rot90(upright, -rotation_deg // 90)
    jpeg = cv2.imencode(".jpg", stored[..., ::-1])[1].tobytes()
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, exif_orientation, 0)
    picture = jpeg[:2] + struct.pack(">HH", 0xFFE1, len(exif) + 2) + exif + jpeg[2:]
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuvj420p"
        for number in range(5):
            packet = av.Packet(picture)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    with Reader(str(path)) as reader:
        image = next(iter(reader.span(0, 0.1))).rgb()
    assert image.shape == (64, 96, 3)
    assert image[16, 48, 0] > 180
    assert image[48, 48, 0] < 40


def test_turned_pictures_are_not_held_in_memory(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_gradient, 30, duration_s=0.4, rotation_deg=90)
    gc.collect()
    gc.disable()  # what refers to itself stays
    try:
        with Reader(str(path)) as reader:
            for n_shown, _ in enumerate(reader.span(0, 0.4)):
                held = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
                assert held < 5, f"{held} of {n_shown}"
    finally:
        gc.enable()


def test_pixels_that_are_not_square(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 5, 30, sample_aspect=Fraction(3, 2))
    with Reader(str(path)) as reader:
        frame = next(iter(reader.span(0, 0.1)))
    assert frame.size == (96, 48)
    assert frame.rgb().shape == (48, 96, 3)


def test_sequence_on_an_open_reader_equals_spans_read_alone(tmp_path):
    spans = [(0, 2), (2, 4), (4, 6), (1.5, 3.5), (0, 2)]
    for name, codec, audio_codec in [
        ("a.mp4", "libx264", "aac"),
        ("a.webm", "libvpx-vp9", "libopus"),
        ("a.ts", "libx264", "aac"),
        ("a.mpg", "mpeg1video", "mp2"),
        ("a.avi", "mpeg4", "libmp3lame"),
    ]:
        path = str(
            write_video(
                tmp_path / name,
                moving_gradient,
                25,
                duration_s=6,
                audio=voice_like,
                codec=codec,
                audio_codec=audio_codec,
                codec_options={"g": "20", "bf": "2"} if codec != "libvpx-vp9" else {"cpu-used": "8", "g": "20"},
            )
        )
        with Reader(path) as reader:
            together = spans_as_bytes(reader, spans)
        alone = []
        for span in spans:
            with Reader(path) as reader:
                alone += spans_as_bytes(reader, [span])
        assert together == alone, name
        assert together[0] == together[-1], name


@pytest.mark.parametrize(
    ("name", "codec", "audio_codec"),
    [
        ("a.ts", "libx264", "aac"),
        ("a.mpg", "mpeg1video", "mp2"),
        ("a.webm", "libvpx-vp9", "libopus"),
        ("a.avi", "mpeg4", "libmp3lame"),
        ("a.flv", "libx264", "aac"),
    ],
)
def test_pictures_of_a_middle_span_are_those_of_the_whole(tmp_path, name, codec, audio_codec):
    options = {"g": "30", "bf": "2"} if codec != "libvpx-vp9" else {"cpu-used": "8", "g": "30"}
    path = write_video(
        tmp_path / name,
        moving_gradient,
        25,
        duration_s=8,
        audio=voice_like,
        codec=codec,
        audio_codec=audio_codec,
        codec_options=options,
    )
    with Reader(str(path)) as reader:
        whole, sound = read(reader, 0, 8)
        part, part_sound = read(reader, 4, 6)
    assert (part >= 0).all()
    np.testing.assert_array_equal(part, whole[120:180])
    # Containers that round times to milliseconds (Matroska, FLV) move sound by up to half of one: 8 samples.
    middle = part_sound[100:-100].astype(float)
    shifts = [np.abs(middle - sound[64_100 + k : 95_900 + k]).max() for k in range(-10, 11)]
    assert min(shifts) < 1500, shifts  # half a sample's shift, and what the decoder remembers


def test_no_sound_track(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_gradient, 30, duration_s=1)
    with Reader(str(path)) as reader:
        assert not reader.header.has_audio
        stream = reader.span(0, 1)
        assert sum(frame.n_cells for frame in stream) == 30
        with pytest.raises(MediaError) as caught:
            stream.pcm()
    assert caught.value.reason == Reason.NO_AUDIO


def test_no_video_track(tmp_path):
    path = write_video(tmp_path / "a.m4a", None, duration_s=1, audio=voice_like)
    with Reader(str(path)) as reader:
        assert (reader.header.has_video, reader.header.width) == (False, 0)
        stream = reader.span(0, 1)
        assert list(stream) == []
        assert np.abs(stream.pcm()).max() > 1000


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48_000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(cover.encode(None))
        samples = voice_like(np.arange(48_000) / 48_000).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, "flt", "mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with Reader(str(path)) as reader:
        assert not reader.header.has_video
        assert reader.header.has_audio
        assert np.abs(reader.span(0, 1).pcm()).max() > 1000


def reason_of(path):
    with pytest.raises(MediaError) as caught:
        Reader(str(path))
    return caught.value.reason


def test_missing_file(tmp_path):
    assert reason_of(tmp_path / "none.mp4") == Reason.MISSING


def test_empty_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    assert reason_of(tmp_path / "a.mp4") == Reason.EMPTY


@pytest.mark.parametrize(
    "data",
    [
        b"This is a text.\n" * 100,
        bytes(100_000),
        np.random.default_rng(0).bytes(100_000),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile other.mp4\n",
        b"1\n00:00:00,000 --> 00:00:02,000\nA subtitle.\n",
    ],
    ids=["text", "zeros", "random", "hls", "concat", "subtitles"],
)
def test_files_that_are_not_media(tmp_path, data):
    write_video(tmp_path / "other.mp4", moving_gradient, 30, duration_s=0.5)
    (tmp_path / "a.mp4").write_bytes(data)
    assert reason_of(tmp_path / "a.mp4") == Reason.NOT_MEDIA


def test_folder_is_not_media(tmp_path):
    assert reason_of(tmp_path) == Reason.NOT_MEDIA


@pytest.fixture(scope="module")
def six_seconds(tmp_path_factory):
    return write_video(
        tmp_path_factory.mktemp("clip") / "a.mp4",
        moving_gradient,
        30,
        duration_s=6,
        audio=voice_like,
        codec_options={"g": "30", "crf": "18"},
        container_options={"movflags": "faststart"},
    )


def test_index_at_the_end_cut_off(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_gradient, 30, duration_s=2, audio=voice_like)
    path.write_bytes(path.read_bytes()[:-3000])
    assert reason_of(path) == Reason.TRUNCATED


def test_truncated_file_gives_what_is_there_and_then_says_so(tmp_path, six_seconds):
    data = six_seconds.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    with Reader(str(path)) as reader:
        assert reader.header.duration_s == pytest.approx(6, abs=0.1)
        stream = reader.span(0, 6)
        cells = [cell for frame in stream for cell in range(frame.first_cell, frame.first_cell + frame.n_cells)]
        assert len(stream.pcm()) == 96_000
        assert 30 < len(cells) < 150
        assert cells == list(range(len(cells)))
        late = reader.span(5, 6)
        with pytest.raises(MediaError) as caught:
            list(late)
        assert caught.value.reason in {Reason.TRUNCATED, Reason.CORRUPT}
        with pytest.raises(MediaError):
            late.pcm()


def test_garbage_in_the_middle_costs_only_what_it_hit(tmp_path, six_seconds):
    data = bytearray(six_seconds.read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 6000] = np.random.default_rng(1).bytes(6000)
    path = tmp_path / "garbage.mp4"
    path.write_bytes(data)
    with Reader(str(path)) as reader, Reader(str(six_seconds)) as good:
        stream = reader.span(0, 6)
        shown = {frame.first_cell: frame.rgb() for frame in stream}
        original = {frame.first_cell: frame.rgb() for frame in good.span(0, 6)}
        assert stream.n_decode_errors > 0
        assert len(stream.pcm()) == 96_000
    assert 90 < len(shown) < 180
    assert max(shown) == 179  # it goes on behind the bad place
    wrong = [cell for cell in shown if not np.array_equal(shown[cell], original[cell])]
    assert len(wrong) <= 2, f"smeared pictures were handed out: {wrong}"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_random_damage_never_raises_anything_but_a_media_error(tmp_path, seed, suffix):
    rng = np.random.default_rng(seed)
    path = write_video(tmp_path / f"a.{suffix}", moving_gradient, 30, duration_s=2, audio=voice_like)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        at, n = rng.integers(0, len(data)), rng.integers(1, 200)
        data[at : at + n] = rng.bytes(min(n, len(data) - at))
    path.write_bytes(data)
    try:
        with Reader(str(path)) as reader:
            for start_s, end_s in [(0, 1), (1, 2)]:
                stream = reader.span(start_s, end_s)
                cells = [frame.first_cell for frame in stream]
                assert cells == sorted(set(cells))
                assert len(stream.pcm()) == 16_000
    except MediaError:
        pass


def test_stream_that_ends_early_leaves_cells_empty(tmp_path):
    path = write_video(
        tmp_path / "a.mp4",
        [moving_gradient(k / 30) for k in range(60)],
        30,
        audio=voice_like(np.arange(192_000) / 48_000),
    )
    with Reader(str(path)) as reader:
        assert reader.header.duration_s == pytest.approx(4, abs=0.1)
        cells, pcm = read(reader, 0, 4)
        held = np.flatnonzero(cells >= 0)
        assert 59 <= held[-1] <= 60 + 8  # the last picture stays for a quarter of a second
        assert np.abs(pcm[-16_000:]).max() > 1000


def test_sound_that_starts_later_is_no_error(tmp_path):
    path = write_video(
        tmp_path / "a.mp4",
        moving_gradient,
        30,
        duration_s=4,
        audio=voice_like(np.arange(48_000) / 48_000),
        audio_start_s=2,
    )
    with Reader(str(path)) as reader:
        cells, pcm = read(reader, 0, 1)
        assert (cells >= 0).all()
        assert not pcm.any()


def test_more_pixels_than_allowed(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_gradient, 30, duration_s=0.5)
    with Reader(str(path), max_pixels=96 * 64 - 1) as reader, pytest.raises(MediaError) as caught:
        list(reader.span(0, 0.5))
    assert caught.value.reason == Reason.TOO_LARGE


def test_pictures_that_grow_in_the_middle(tmp_path):
    parts = []
    for size, start_s in [((96, 64), 0.0), ((192, 128), 1.0)]:
        part = write_video(
            tmp_path / f"{size[0]}.ts",
            lambda t, size=size: moving_gradient(t, size),
            30,
            duration_s=1,
            video_start_s=start_s,
        )
        parts.append(part.read_bytes())
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(parts))
    with Reader(str(path), max_pixels=96 * 64) as reader, pytest.raises(MediaError) as caught:
        list(reader.span(0, 2))
    assert caught.value.reason == Reason.TOO_LARGE


def test_webm_without_a_duration(tmp_path):
    live = tmp_path / "live.webm"
    out = io.BytesIO()
    out.seekable = lambda: False
    source = write_video(
        tmp_path / "a.webm",
        moving_gradient,
        25,
        duration_s=3,
        audio=voice_like,
        codec="libvpx-vp9",
        codec_options={"cpu-used": "8"},
        audio_codec="libopus",
    )
    with av.open(str(source)) as read_from, av.open(out, "w", format="webm", options={"live": "1"}) as container:
        streams = {s.index: container.add_stream_from_template(s) for s in read_from.streams}
        for packet in read_from.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
        container.flush_buffers() if hasattr(container, "flush_buffers") else None
    live.write_bytes(out.getvalue())
    with Reader(str(live)) as reader:
        assert reader.header.duration_s is None
        assert reader.measure_duration_s() == pytest.approx(3, abs=0.1)
        cells, pcm = read(reader, 1, 3)
        assert (cells >= 0).all()
        assert np.abs(pcm).max() > 1000


def test_a_fragmented_file_is_searched_for_its_fragments_once(tmp_path, monkeypatch):
    """It has no index: FFmpeg looks at every fragment when it opens the file, and each span opens it anew."""
    rng = np.random.default_rng(0)
    path = write_video(
        tmp_path / "a.mp4",
        [rng.integers(0, 256, (96, 128, 3)).astype(np.uint8) for _ in range(120)],
        30,
        duration_s=4,
        audio=voice_like,
        codec_options={"g": "4", "bf": "0", "qp": "1"},
        container_options={"movflags": "frag_keyframe+empty_moov"},
    )
    spans = [(0, 1), (2, 3), (3, 4)]
    with Reader(str(path)) as reader:
        expected = spans_as_bytes(reader, spans)

    monkeypatch.setattr(source, "LOCAL_BLOCK_BYTES", 32 << 10)  # the file has more blocks than are kept
    with Reader(str(path)) as reader:
        assert spans_as_bytes(reader, spans) == expected
        monkeypatch.setattr(source, "read_exactly", None)
        reader.span(1, 2)


def test_change_of_sound_format_in_the_middle(tmp_path):
    """A transport stream whose sound goes from 48 to 32 kHz."""
    data = b""
    for k, rate_hz in enumerate((48_000, 32_000)):
        part = write_video(
            tmp_path / f"{k}.ts",
            None,
            duration_s=1,
            audio=lambda t, k=k: voice_like(t + k),
            audio_rate_hz=rate_hz,
            audio_codec="mp2",
            audio_start_s=float(k),
        )
        data += part.read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(data)
    with Reader(str(path)) as reader:
        pcm = reader.span(0, 2).pcm().astype(float)
    assert np.abs(pcm[:15_000]).mean() > 1000
    assert np.abs(pcm[18_000:31_000]).mean() > 1000


def test_read_that_breaks_off_is_a_read_error(tmp_path, six_seconds, monkeypatch):
    monkeypatch.setattr(source, "LOCAL_BLOCK_BYTES", 4096)
    with Reader(str(six_seconds)) as reader:
        stream = reader.span(0, 6)
        frames = iter(stream)
        next(frames)

        class Broken:
            def read_at(self, n_bytes, offset):
                raise OSError("connection reset")

            def close(self):
                pass

        reader._source._file = Broken()
        with pytest.raises(MediaError) as caught:
            list(frames)
    assert caught.value.reason == Reason.READ_ERROR


def test_all_real_recordings_decode_in_good_order(test_data):
    found = 0
    for path in sorted([*test_data.glob("talking_heads/*.m[op]*"), *test_data.glob("hard_videos/*.m[op]*")]):
        with Reader(str(path)) as reader:
            end_s = min(3.0, reader.header.duration_s)  # face_then_none.mov's sound starts at 2.4 s
            stream = reader.span(0, end_s)
            cells = sum(frame.n_cells for frame in stream)
            assert stream.n_decode_errors == 0, path
            assert len(stream.pcm()) == round(end_s * 16_000)
            # two_faces_cuts.mp4's picture starts 0.85 s after its sound
            assert cells >= stream.n_cells - (26 if path.stem == "two_faces_cuts" else 1), path
            found += 1
    assert found == 21
