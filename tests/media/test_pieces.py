"""Sound and picture of a window are of the same moment, whatever was done to the file: cut, joined, shifted."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_files import CODECS, moving_gradient, voice_like, write_flash_click, write_moving
from rich.filesize import decimal

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.recordings import Recording
from liser_ray.corpora.segments import Segment
from liser_ray.corpora.spans import cut
from liser_ray.media import reader as reader_module
from liser_ray.media import source
from liser_ray.media.clips import WINDOW_CELLS
from liser_ray.media.outcome import MediaError
from liser_ray.media.reader import Reader
from liser_ray.media.span import common_cells
from liser_ray.media.waveform import decode_waveform

FORMATS = [".mp4", ".mkv", ".webm", ".ts", ".vob", ".avi"]
CLIP_S = 4.0
FLASHES_S = [0.3, 0.72, 1.36, 1.6, 2.36, 2.68, 3.2, 3.6]  # no two distances between neighbours are alike
APART_S = 0.07  # a picture of 25 a second, a cell and what a codec smears
EDGE_S = 0.15  # from a cut, where a picture or the codec's first sound may be missing


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """In each format 4 s with a flash and a click at known times, a key frame every 0.4 s."""
    folder = tmp_path_factory.mktemp("flash")
    paths = {}
    for suffix in FORMATS:
        codec, audio_codec = CODECS.get(suffix, ("libx264", "aac"))
        options = {"g": "10", "bf": "0"} | ({"cpu-used": "8", "deadline": "realtime"} if "vpx" in codec else {})
        paths[suffix] = write_flash_click(
            folder / f"clip{suffix}",
            25,
            FLASHES_S,
            duration_s=CLIP_S,
            codec=codec,
            audio_codec=audio_codec,
            codec_options=options,
        )
    return paths


def remux(source, target, *, shift_s=0.0, picture_s=(0.0, CLIP_S), sound_s=(0.0, CLIP_S)):
    """Copy the packets of these times, pictures from a key frame on, by a clock that is shifted."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as container:
        streams = {one.index: container.add_stream_from_template(one) for one in clip.streams}
        origin_s = min(float(one.start_time * one.time_base) for one in clip.streams)
        begun = set()
        for packet in clip.demux():
            if packet.dts is None:
                continue
            first_s, end_s = picture_s if packet.stream.type == "video" else sound_s
            time_s = float(packet.pts * packet.time_base) - origin_s
            if not first_s <= time_s < end_s or not (packet.is_keyframe or packet.stream.index in begun):
                continue
            begun.add(packet.stream.index)
            ticks = round(Fraction(shift_s - min(picture_s[0], sound_s[0])) / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = streams[packet.stream.index]
            container.mux(packet)
    return target.read_bytes()


def labeled_parts(path, span_seconds):
    """Of each planned span that can be labeled: its times in the recording, the flashes and the clicks in it."""
    (header,) = read_headers([str(path)])
    if isinstance(header, MediaError):
        return []
    found = []
    with Reader(str(path)) as reader:
        for span in cut("id", header.duration_s, span_seconds, header.breaks_s):
            try:
                stream = reader.span(span.start_s, span.end_s)
                cells = np.full(stream.n_cells, -1.0)
                for frame in stream:
                    cells[frame.first_cell : frame.first_cell + frame.n_cells] = frame.gray(8, 8).mean()
                pcm = stream.pcm()
            except MediaError:
                continue
            first, end = common_cells(*stream.covered_s(), stream.n_cells)
            if end - first >= WINDOW_CELLS:
                loud = np.flatnonzero(np.abs(pcm.astype(int)) > 3000) / 16_000
                clicks = [one for one, before in zip(loud, [-1, *loud[:-1]], strict=True) if one - before > 0.1]
                flashes = (np.flatnonzero((cells > 128) & (np.roll(cells, 1) <= 128)) / 30).tolist()
                found.append((first / 30, end / 30, flashes, clicks, span))
    return found


def assert_paired(parts):
    """Each flash has its click and each click its flash; returns how many."""
    n_paired = 0
    for start_s, end_s, flashes, clicks, span in parts:
        for own, other in ((flashes, clicks), (clicks, flashes)):
            for time_s in own:
                if start_s + EDGE_S < time_s < end_s - EDGE_S:
                    nearest_s = min((abs(time_s - one) for one in other), default=9)
                    assert nearest_s < APART_S, f"{flashes} and {clicks} in {span}, labeled {start_s} to {end_s}"
                    n_paired += own is flashes
    return n_paired


tenths = st.integers(0, 10).map(lambda n: n / 10)
pieces = st.fixed_dictionaries(
    {
        "shift_s": st.sampled_from([0.0, 0.0, 0.7, 10.0, 3600.0, 90_000.0]),
        "picture_s": st.tuples(tenths, tenths).map(lambda cuts: (cuts[0], CLIP_S - cuts[1])),
        "sound_s": st.tuples(tenths, tenths).map(lambda cuts: (cuts[0], CLIP_S - cuts[1])),
    }
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(FORMATS),
    st.lists(pieces, min_size=1, max_size=3),
    st.floats(0.5, 1),
    st.booleans(),
    st.sampled_from([16.0, 1.9]),
)
def test_flashes_and_clicks_stay_together(clips, tmp_path_factory, suffix, edits, kept, is_cut, span_seconds):
    folder = tmp_path_factory.mktemp("edited")
    if suffix == ".avi":  # it counts its pictures and its sound from zero
        edits = [
            one | {"shift_s": 0.0, "sound_s": (0.0, one["sound_s"][1]), "picture_s": (0.0, CLIP_S)} for one in edits
        ]
    parts = [remux(clips[suffix], folder / f"{k}{suffix}", **one) for k, one in enumerate(edits)]
    data = b"".join(parts)
    path = folder / f"edited{suffix}"
    path.write_bytes(data[: int(len(data) * kept)] if is_cut else data)
    n_paired = assert_paired(labeled_parts(path, span_seconds))
    if not is_cut and span_seconds > CLIP_S:
        common = [
            (max(one["picture_s"][0] + 0.4, one["sound_s"][0]), min(one["picture_s"][1], one["sound_s"][1]))
            for one in edits
        ]
        # What is late begins with a window, of 0.53 s.
        least = sum(start + 0.6 + EDGE_S < t < end - EDGE_S - 0.05 for start, end in common for t in FLASHES_S)
        assert n_paired >= least, f"{n_paired} of {least}"


def planned(path):
    """Length and breaks of a recording."""
    (header,) = read_headers([str(path)])
    assert not isinstance(header, MediaError), header
    return header.duration_s, header.breaks_s


FRAGMENTED = {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "codec_options": {"g": "10"}}
LIVE = {"container_options": {"live": "1"}}
LATER = [".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ogv", ".ts", ".vob", ".wav", ".webm", ".wmv"]


@pytest.mark.parametrize(
    ("suffix", "options"), [*((suffix, {}) for suffix in LATER), (".mp4", FRAGMENTED), (".webm", LIVE)]
)
def test_of_joined_files_all_are_planned_and_no_span_reaches_over_a_joint(tmp_path, suffix, options):
    if suffix == ".wav":
        options = {"frames": None, "audio_codec": "pcm_s16le"}
    lengths_s = (1.0, 1.4, 1.2)
    parts = [write_moving(tmp_path / f"{k}{suffix}", one, 25, **options) for k, one in enumerate(lengths_s)]
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    duration_s, breaks_s = planned(path)
    assert duration_s == pytest.approx(sum(lengths_s), abs=0.3)
    assert breaks_s == pytest.approx((1.0, 2.4), abs=0.2)
    listed = Recording(str(path), 1, "v", segment=Segment(1.6, 2.9))
    (probed,) = probe_all([listed], PlanConfig(probe_workers=1))
    assert (probed.header.duration_s, *probed.header.breaks_s) == pytest.approx((1.3, breaks_s[1] - 1.6), abs=0.01)
    with Reader(str(path)) as reader:
        for start_s, end_s in pairwise([0.0, *breaks_s, duration_s]):
            stream = reader.span(start_s, end_s)
            assert sum(frame.n_cells for frame in stream) >= (0 if suffix == ".wav" else stream.n_cells - 4)
            assert (np.abs(stream.pcm()) > 100).mean() > 0.5
        with pytest.raises(MediaError, match=r"Reason\.TIMES_JUMP.*times jump at"):
            reader.span(breaks_s[0] - 0.5, breaks_s[0] + 0.5)


def test_a_joined_file_that_can_not_be_opened_is_named_in_what_is_left(tmp_path, caplog):
    whole = write_moving(tmp_path / "a.mp4", 1.2, 25).read_bytes()
    path = tmp_path / "joined.mp4"
    path.write_bytes(whole + whole[: len(whole) // 2])  # its index, at its end, is gone
    with Reader(str(path)) as reader:
        assert reader.header.duration_s == pytest.approx(1.2, abs=0.1)
        assert reader.note == f"{decimal(len(whole) // 2)} of it, joined to the rest, can't be opened"
    with path.open("rb") as file:
        assert sum(map(len, decode_waveform(file))) == pytest.approx(1.2 * 16_000, abs=1600)
    assert "joined to the rest, can't be opened" in caplog.text
    path.write_bytes(whole + whole)
    with Reader(str(path)) as reader:
        assert (len(reader.header.breaks_s), reader.note) == (1, "")


@pytest.mark.parametrize("n_bytes", range(-8, 1))
def test_a_joint_is_found_wherever_a_block_of_the_source_ends(tmp_path, monkeypatch, n_bytes):
    whole = write_moving(tmp_path / "a.mp4", 1.2, 25).read_bytes()
    path = tmp_path / "joined.mp4"
    path.write_bytes(whole + whole)
    monkeypatch.setattr(source, "LOCAL_BLOCK_BYTES", len(whole) - n_bytes)
    with Reader(str(path)) as reader:
        assert len(reader.header.breaks_s) == 1


def test_a_live_recording_whose_joined_rest_has_a_header_alone_is_left_with_a_note(tmp_path):
    whole = write_moving(tmp_path / "a.webm", 1.2, 25, **LIVE).read_bytes()
    path = tmp_path / "joined.webm"
    path.write_bytes(whole + whole[: whole.index(b"\x1f\x43\xb6\x75") + 20])  # into its first cluster
    with Reader(str(path)) as reader:
        assert reader.header.breaks_s == ()
        assert "joined to the rest, can't be opened" in reader.note


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".vob", ".flv", ".wmv"])
def test_a_clock_that_starts_an_hour_late_is_no_hour(tmp_path, suffix):
    path = tmp_path / f"late{suffix}"
    remux(write_moving(tmp_path / f"a{suffix}", 1.2, 25), path, shift_s=3600.0)
    duration_s, breaks_s = planned(path)
    assert (duration_s, breaks_s) == (pytest.approx(1.2, abs=0.1), ())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".vob", ".flv"])
def test_an_hour_that_a_clock_leaves_out_is_not_there(tmp_path, suffix):
    """As a recorder leaves it that was paused: sound from before lies behind pictures from after."""
    times = [k / 25 for k in range(75)]
    times = [one if one < 1.6 else one + 3600 for one in times]
    codec, audio_codec = CODECS.get(suffix, ("libx264", "aac"))
    still = {"sc_threshold": "0" if codec == "libx264" else "1000000000"}  # a key frame right after the jump
    with av.open(str(tmp_path / f"a{suffix}"), "w") as container:
        video = container.add_stream(codec, rate=25, options={"g": "10", "bf": "0"} | still)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000 if codec == "libx264" else 25)
        sound = container.add_stream(audio_codec, rate=48_000, layout="mono")
        n_samples = sound.codec_context.frame_size or 1024
        packets = []
        for time_s in times:
            frame = av.VideoFrame.from_ndarray(moving_gradient(time_s), format="rgb24")
            frame.time_base = video.codec_context.time_base
            frame.pts = round(time_s / frame.time_base)
            packets += video.encode(frame)
        packets += video.encode(None)
        for k in range(round(3 * 48_000 / n_samples)):
            start = k * n_samples
            samples = voice_like(np.arange(start, start + n_samples) / 48_000).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
            frame.pts = start + (3600 * 48_000 if start >= 1.6 * 48_000 else 0)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base + Fraction(packet.stream is sound, 5))
        for packet in packets:
            container.mux(packet)
    duration_s, breaks_s = planned(tmp_path / f"a{suffix}")
    assert duration_s == pytest.approx(3, abs=1.1)  # in MP4 the last sound before the jump lasts an hour
    assert len(breaks_s) == 1
    with Reader(str(tmp_path / f"a{suffix}")) as reader:
        for start_s, end_s in [(0, breaks_s[0]), (breaks_s[0], duration_s)]:
            stream = reader.span(start_s, end_s)
            # In a program stream the key frame may lie in a packet with the time from before the jump.
            assert sum(frame.n_cells for frame in stream) >= (30 if suffix == ".vob" else 40)
            stream.pcm()
            covered = stream.covered_s()
            assert covered[1] - covered[0] > (0.9 if suffix == ".vob" else 1.3)


def test_of_a_stream_too_large_to_be_read_through_nothing_is_paired_over_a_jump(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_SEARCH_BYTES", 1000)
    parts = [remux(clips[".ts"], tmp_path / f"{k}.ts", shift_s=shift_s) for k, shift_s in enumerate((5.0, 0.0))]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    with Reader(str(tmp_path / "joined.ts")) as reader, pytest.raises(MediaError, match=r"Reason\.TIMES_JUMP"):
        list(reader.span(0, 4))


@pytest.mark.parametrize("is_read_through", [True, False])
def test_pictures_are_decoded_from_the_key_frame_before_however_far_it_is(tmp_path, monkeypatch, is_read_through):
    if not is_read_through:
        monkeypatch.setattr(reader_module, "MAX_SEARCH_BYTES", 1000)
    codec = {"g": "1000", "sc_threshold": "0"}
    path = write_moving(tmp_path / "a.ts", 50, 3, audio_codec="mp2", audio_rate_hz=16_000, codec_options=codec)
    with Reader(str(path)) as reader:
        stream = reader.span(40, 44)
        assert sum(frame.n_cells for frame in stream) == stream.n_cells
        assert len(stream.pcm()) == 64_000
