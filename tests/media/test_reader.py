"""Recordings, a span at a time: right pictures and sound at the right times, and what becomes of broken files."""

import gc
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media_files import moving_gradient, voice_like, write_flash_click, write_moving, write_video

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.probe import judge
from liser_ray.corpora.speech import read_waveform
from liser_ray.media import source
from liser_ray.media.container import guesses_length
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.media.track_choice import Wanted

AAC_TOLERANCE_S = 0.01  # a 5-ms click through AAC's 21-ms blocks has a soft start
NTSC = Fraction(30_000, 1001)
PCM = {"audio_rate_hz": 16_000, "audio_codec": "pcm_s16le"}


def read(path, start_s, end_s):
    """(brightness per cell or -1, sound) of a span."""
    with Reader(str(path)) as reader:
        stream = reader.span(start_s, end_s)
        cells = np.full(stream.n_cells, -1.0)
        for frame in stream:
            cells[frame.first_cell : frame.first_cell + frame.n_cells] = frame.gray(16, 16).mean()
        return cells, stream.pcm()


def first_picture(path):
    with Reader(str(path)) as reader:
        return next(iter(reader.span(0, 0.1)))


def spans_as_bytes(reader, spans):
    """Everything a span gives, for comparison byte for byte."""
    found = []
    for start_s, end_s in spans:
        stream = reader.span(start_s, end_s)
        frames = [(f.first_cell, f.n_cells, f.rgb().tobytes()) for f in stream]
        found.append((frames, stream.pcm().tobytes() if reader.header.has_audio else b""))
    return found


def reason_of(path, start_s=None, end_s=None, max_pixels=None):
    """Why the recording, or the pictures of its span, can't be had."""
    try:
        with Reader(str(path), *([max_pixels] if max_pixels else [])) as reader:
            if end_s:
                list(reader.span(start_s, end_s))
    except MediaError as error:
        return error.reason
    return None


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
    cells, pcm = read(flash_clips[rate], start_s, end_s)
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
    for start_s, end_s, click_s in [(0, 3, 0.9), (3, 6, 4.2)]:
        cells, pcm = read(path, start_s, end_s)
        assert (cells >= 0).all()
        np.testing.assert_array_equal(cells > 128, cells_of_flashes(times, (0.9, 4.2), start_s, len(cells)))
        assert abs(start_s + click_start_s(pcm) - click_s) < AAC_TOLERANCE_S


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pictures_at_30_fps_are_all_shown_once(tmp_path, name):
    frames = [np.full((32, 32, 3), 20 + 2 * k, np.uint8) for k in range(90)]
    cells, _ = read(write_moving(tmp_path / name, 3, frames=frames, codec_options={"crf": "1"}), 0, 3)
    assert (np.diff(cells[cells >= 0]) > 0.5).all()
    assert (cells >= 0).sum() >= 88  # a transport stream's video may start a little after its sound


def test_sound_is_exact_where_the_codec_is(tmp_path):
    path = write_moving(tmp_path / "a.mkv", 3, 25, **PCM)
    expected = np.round(voice_like(np.arange(48_000) / 16_000) * 32767)
    assert np.abs(read(path, 0, 3)[1] - expected).max() <= 1
    assert np.abs(read(path, 1.2, 2.2)[1] - expected[19_200:35_200]).max() <= 1


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 44_100, 48_000])
def test_resampling_keeps_time_and_level(tmp_path, rate_hz):
    path = write_moving(tmp_path / "a.wav", frames=None, audio_rate_hz=rate_hz, audio_codec="pcm_s16le")
    expected = voice_like(np.arange(32_000) / 16_000) * 32767
    assert np.abs(read(path, 0, 2)[1] - expected)[200:-200].max() < 60
    part = read(path, 1, 1.5)[1]
    exact = voice_like((16_000 + np.arange(8000)[:, None] + np.linspace(-0.5, 0.5, 11)) / 16_000) * 32767
    assert np.abs(part[:, None] - exact).max(0).min() < 150  # a part starts at the nearest sample


@pytest.mark.parametrize(("suffix", "audio_codec"), [("mp4", "aac"), ("mkv", "pcm_s16le")])
@pytest.mark.parametrize(("video_start_s", "audio_start_s"), [(0.0, 0.5), (0.5, 0.0)])
def test_offsets_between_picture_and_sound_are_kept(tmp_path, suffix, audio_codec, video_start_s, audio_start_s):
    starts = {"video_start_s": video_start_s, "audio_start_s": audio_start_s}
    path = write_flash_click(tmp_path / f"a.{suffix}", 30, [1.0], duration_s=3, audio_codec=audio_codec, **starts)
    cells, pcm = read(path, 0, 3)
    assert (np.flatnonzero(cells > 128)[0] + 0.5) / 30 == pytest.approx(1.0 + video_start_s, abs=1 / 30)
    assert (cells[: int(video_start_s * 30)] == -1).all()
    assert click_start_s(pcm) == pytest.approx(1.0 + audio_start_s, abs=0.025)


def quarters():
    """Red, green over blue, black; uint8 [64, 96, 3]."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48, 0] = picture[:32, 48:, 1] = picture[32:, :48, 2] = 220
    return picture


def assert_quarters(frame):
    image = frame.rgb()
    assert frame.size == (96, 64)
    assert image.shape == (64, 96, 3)
    assert [int(corner.argmax()) for corner in (image[16, 24], image[16, 72], image[48, 24])] == [0, 1, 2]
    assert image[48, 72].max() < 60


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["", "hflip", "vflip"])
def test_turned_and_mirrored_pictures_are_shown_as_they_are_meant(tmp_path, rotation_deg, flip):
    meant = {"": quarters(), "hflip": quarters()[:, ::-1], "vflip": quarters()[::-1]}[flip]
    stored = np.ascontiguousarray(np.rot90(meant, -rotation_deg // 90))
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = stored.shape[:2]
        stream.set_display_rotation(rotation_deg, **({flip: True} if flip else {}))
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "rgb24")))
        container.mux(stream.encode(None))
    frame = first_picture(path)
    assert_quarters(frame)
    assert frame.mirrored == bool(flip)
    assert frame.rgb(48, 32).shape == (32, 48, 3)
    assert frame.gray(48, 32).shape == (32, 48)


@pytest.mark.parametrize(("exif_orientation", "rotation_deg"), [(1, 0), (3, 180), (6, 270), (8, 90)])
def test_pictures_of_a_photo_camera_are_turned_by_their_exif(tmp_path, exif_orientation, rotation_deg):
    """PyAV does not know this kind of data."""
    stored = np.rot90(quarters(), -rotation_deg // 90)
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
    assert_quarters(first_picture(path))


def test_turned_pictures_are_not_held_in_memory(tmp_path):
    path = write_moving(tmp_path / "a.mp4", 0.4, rotation_deg=90)
    gc.collect()
    gc.disable()  # what refers to itself stays
    try:
        with Reader(str(path)) as reader:
            pictures = iter(reader.span(0, 0.4))
            shown = [next(pictures).first_cell for _ in range(8)]
            held = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
            assert held < 5, f"{held} of {len(shown)}"
    finally:
        gc.enable()


def test_pixels_that_are_not_square(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 5, 30, sample_aspect=Fraction(3, 2))
    frame = first_picture(path)
    assert frame.size == (96, 48)
    assert frame.rgb().shape == (48, 96, 3)


@pytest.mark.parametrize("suffix", ["mp4", "webm", "ts", "mpg", "avi", "flv"])
def test_spans_are_those_of_the_whole_and_of_a_reader_of_their_own(tmp_path, suffix):
    options = {} if suffix == "webm" else {"bf": "2"}
    path = write_moving(tmp_path / f"a.{suffix}", 8, 25, codec_options={"g": "30"} | options)
    whole, sound = read(path, 0, 8)
    part, part_sound = read(path, 4, 6)
    assert (part >= 0).all()
    np.testing.assert_array_equal(part, whole[120:180])
    # Containers that round times to milliseconds (Matroska, FLV) move sound by up to half of one: 8 samples.
    middle = part_sound[100:-100].astype(float)
    shifts = [np.abs(middle - sound[64_100 + k : 95_900 + k]).max() for k in range(-10, 11)]
    assert min(shifts) < 1500, shifts  # half a sample's shift, and what the decoder remembers

    spans = [(0, 2), (4, 6), (1.5, 3.5), (0, 2)]
    with Reader(str(path)) as reader:
        together = spans_as_bytes(reader, spans)
    alone = []
    for span in spans[:-1]:
        with Reader(str(path)) as reader:
            alone += spans_as_bytes(reader, [span])
    assert together == [*alone, alone[0]]


@pytest.mark.parametrize("with_cover", [False, True])
def test_no_video_track_and_cover_art_is_none(tmp_path, with_cover):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48_000)
        if with_cover:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
            container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(voice_like(np.arange(48_000) / 48_000).reshape(1, -1), "flt", "mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with Reader(str(path)) as reader:
        assert (reader.header.has_video, reader.header.width, reader.header.has_audio) == (False, 0, True)
        stream = reader.span(0, 1)
        assert list(stream) == []
        assert np.abs(stream.pcm()).max() > 1000
    (header,) = read_headers([str(path)], (), Wanted(video=0))  # though it is asked for
    assert judge(header, PlanConfig()).reason == Reason.NO_VIDEO


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, Reason.MISSING),
        (b"", Reason.EMPTY),
        (b"This is a text.\n" * 100, Reason.NOT_MEDIA),
        (bytes(100_000), Reason.NOT_MEDIA),
        (np.random.default_rng(0).bytes(100_000), Reason.NOT_MEDIA),
        (b"1\n00:00:00,000 --> 00:00:02,000\nA subtitle.\n", Reason.NOT_MEDIA),
    ],
    ids=["missing", "empty", "text", "zeros", "random", "subtitles"],
)
def test_files_that_are_no_media(tmp_path, data, reason):
    if data is not None:
        (tmp_path / "a.mp4").write_bytes(data)
    assert reason_of(tmp_path / "a.mp4") == reason
    assert reason_of(tmp_path) == Reason.NOT_MEDIA, "a folder"


@pytest.fixture(scope="module")
def six_seconds(tmp_path_factory):
    return write_moving(
        tmp_path_factory.mktemp("clip") / "a.mp4",
        6,
        codec_options={"g": "30", "crf": "18"},
        container_options={"movflags": "faststart"},
    )


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
        for ask in (lambda: list(late), late.pcm):
            with pytest.raises(MediaError) as caught:
                ask()
            assert caught.value.reason in {Reason.TRUNCATED, Reason.CORRUPT}


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


def test_stream_that_ends_early_leaves_cells_empty(tmp_path):
    path = write_moving(tmp_path / "a.mp4", 4, frames=[moving_gradient(k / 30) for k in range(60)], audio=voice_like)
    with Reader(str(path)) as reader:
        assert reader.header.duration_s == pytest.approx(4, abs=0.1)
    cells, pcm = read(path, 0, 4)
    held = np.flatnonzero(cells >= 0)
    assert 59 <= held[-1] <= 60 + 8  # the last picture stays for a quarter of a second
    assert np.abs(pcm[-16_000:]).max() > 1000


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_where_one_track_alone_is_the_other_is_said_to_be_absent(tmp_path, suffix):
    sound = voice_like(np.arange(48_000) / 48_000)
    path = write_moving(tmp_path / f"late.{suffix}", 5, audio=sound, audio_start_s=2)
    with Reader(str(path)) as reader:
        for start_s, end_s, reason, words in [
            (0, 1, Reason.NO_AUDIO, "the sound begins at 1.9|the sound begins at 2.0|the sound pauses or has ended"),
            (4, 5, Reason.NO_AUDIO, "the sound ends at 3.0|the sound ends at 2.9|the sound pauses or has ended"),
        ]:
            stream = reader.span(start_s, end_s)
            assert sum(frame.n_cells for frame in stream) >= 29
            for again in (False, True):  # of a second stream the sound alone is asked for
                stream = reader.span(start_s, end_s) if again else stream
                with pytest.raises(MediaError, match=words) as caught:
                    stream.pcm()
                assert caught.value.reason == reason
        stream = reader.span(1, 4)
        assert len(list(stream)) > 0
        stream.pcm()
        assert stream.covered_s() == pytest.approx((1.0, 2.0), abs=0.1)


def test_more_pixels_than_allowed_at_once_or_from_the_middle_on(tmp_path):
    path = write_moving(tmp_path / "a.mp4", 0.5)
    assert reason_of(path, 0, 0.5, max_pixels=96 * 64 - 1) == Reason.TOO_LARGE
    data = b""
    for size, start_s in [((96, 64), 0.0), ((192, 128), 1.0)]:
        part = tmp_path / f"{size[0]}.ts"
        grown = {"frames": lambda t, size=size: moving_gradient(t, size), "audio": None}
        data += write_moving(part, 1, video_start_s=start_s, **grown).read_bytes()
    (tmp_path / "a.ts").write_bytes(data)
    assert reason_of(tmp_path / "a.ts", 0, 2, max_pixels=96 * 64) == Reason.TOO_LARGE


def test_a_fragmented_file_is_searched_for_its_fragments_once(tmp_path, monkeypatch):
    """It has no index: FFmpeg looks at every fragment when it opens the file, and each span opens it anew."""
    rng = np.random.default_rng(0)
    path = write_moving(
        tmp_path / "a.mp4",
        4,
        frames=[rng.integers(0, 256, (96, 128, 3)).astype(np.uint8) for _ in range(120)],
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
        sound = {"audio": lambda t, k=k: voice_like(t + k), "audio_rate_hz": rate_hz, "audio_codec": "mp2"}
        data += write_moving(tmp_path / f"{k}.ts", 1, frames=None, audio_start_s=float(k), **sound).read_bytes()
    (tmp_path / "a.ts").write_bytes(data)
    pcm = read(tmp_path / "a.ts", 0, 2)[1].astype(float)
    assert np.abs(pcm[:15_000]).mean() > 1000
    assert np.abs(pcm[18_000:31_000]).mean() > 1000


def test_all_real_recordings_decode_in_good_order(test_data):
    found = 0
    for path in sorted([*test_data.glob("talking_heads/*.m[op]*"), *test_data.glob("hard_videos/*.m[op]*")]):
        with Reader(str(path)) as reader:
            end_s = 3.0 if path.stem == "face_then_none" else 1.5  # its sound starts after 2.4 s
            stream = reader.span(0, end_s)
            cells = sum(frame.n_cells for frame in stream)
            assert stream.n_decode_errors == 0, path
            assert len(stream.pcm()) == round(end_s * 16_000)
            # two_faces_cuts.mp4's picture starts 0.85 s after its sound
            assert cells >= stream.n_cells - (26 if path.stem == "two_faces_cuts" else 1), path
            found += 1
    assert found == 21


@pytest.mark.parametrize("options", [{}, {"id3v2_version": "0"}, {"write_xing": "0"}])
def test_an_mp3_that_counts_its_frames_is_taken_at_its_word(tmp_path, options):
    """Measured it would be read whole, from S3 too. Cut off, or joined, it is no longer what it counted."""
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream("libmp3lame", rate=44_100, layout="mono")
        file.metadata["title"] = "x" * 300
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * 44_100).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise[None], "fltp", "mono")
        frame.sample_rate = 44_100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    whole = path.read_bytes()
    for data, counts in ((whole, "write_xing" not in options), (whole[: len(whole) // 2], False), (whole * 2, False)):
        path.write_bytes(data)
        with path.open("rb") as source, av.open(str(path)) as container:
            source.seek(77)
            assert guesses_length(container, source) is not counts
            assert source.tell() == 77
        (header,) = read_headers([str(path)])
        assert header.duration_s == pytest.approx(4 * len(data) / len(whole), abs=0.15)


@pytest.mark.parametrize("suffix", [".aac", ".mp3"])
def test_the_length_of_what_has_no_header_is_measured(tmp_path, suffix):
    """FFmpeg takes it from the bit rate of the first frames: of what is loud only later, several times too much."""
    codec = {".aac": "aac", ".mp3": "libmp3lame"}[suffix]
    times = np.arange(3 * 44_100) / 44_100
    soft, loud = 1e-5 * np.sin(1000 * times), np.random.default_rng(0).uniform(-0.5, 0.5, len(times))
    parts = []
    for sound, bit_rate in ((soft, 32_000), (loud, 128_000)):
        path = tmp_path / f"{bit_rate}{suffix}"
        with av.open(str(path), "w", options={"write_xing": "0", "id3v2_version": "0"}) as file:
            stream = file.add_stream(codec, rate=44_100, layout="mono")
            stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], "fltp", "mono")
            frame.sample_rate = 44_100
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    (header,) = read_headers([str(path)])
    assert header.duration_s == pytest.approx(6, abs=0.2)
    assert len(read_waveform(str(path))) == pytest.approx(6 * 16_000, abs=3200)
