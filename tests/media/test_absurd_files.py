"""Files that are made to cost: each ends in bounded time, with a reason or as the recording that it is."""

import struct
import time
from fractions import Fraction

import av
import pytest
from media_files import write_moving

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.recordings import Recording
from liser_ray.media.faces import FaceConfig
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.source import Source
from liser_ray.media.span import MediaConfig, Needs, prepare_span

SOON_S = 1.5  # where the time may or must run out
LATER_S = 30.0


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(memory_mb=700, preload=[prepare_span.__module__]) as opened:
        opened.call(time.sleep, 0, timeout_s=60)  # its imports are done
        yield opened


@pytest.fixture
def good(tmp_path):
    return write_moving(tmp_path / "good.mp4", 1.6, 25)


def probed(path, timeout_s=LATER_S):
    recording = Recording(str(path), path.stat().st_size, "v")
    (found,) = probe_all([recording], PlanConfig(probe_workers=1, probe_timeout_s=timeout_s))
    return found


def outcome(sandbox, path, timeout_s=LATER_S):
    """Reason code of a span, which takes little longer than it may."""
    began = time.monotonic()
    try:
        arguments = (str(path), 0.0, 1.6, MediaConfig(faces=FaceConfig("opencv")), Needs())
        media = sandbox.call(prepare_span, *arguments, timeout_s=timeout_s)
        return media.problem.reason
    except MediaError as error:
        return error.reason
    finally:
        assert time.monotonic() - began < timeout_s + 5


def test_ten_thousand_chapters_are_no_harm(sandbox, good, tmp_path):
    path = tmp_path / "chapters.mkv"
    with av.open(str(good)) as source, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        numbers = range(10_000)
        base = Fraction(1, 100_000)
        target.set_chapters(
            [{"id": k + 1, "start": k, "end": k + 1, "time_base": base, "metadata": {"title": "x"}} for k in numbers]
        )
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    assert probed(path).problem is None
    assert outcome(sandbox, path) == Reason.NO_FACE


def test_a_hundred_thousand_tags_cost_no_more_than_the_timeout(sandbox, tmp_path):
    """FFmpeg looks each tag up among all others."""
    path = tmp_path / "tags.mp4"
    tags = [b"k%d=v" % number for number in range(200_000)]
    comment = struct.pack("<II", 0, len(tags)) + b"".join(struct.pack("<I", len(tag)) + tag for tag in tags)
    rate_channels_bits = (16_000 << 44) | (15 << 36)
    info = struct.pack(">HHIHQ", 4096, 4096, 0, 0, rate_channels_bits) + bytes(16)
    path.write_bytes(b"fLaC" + _flac_block(0, info) + _flac_block(0x84, comment))
    assert probed(path, SOON_S).problem.reason == Reason.TIMEOUT
    assert outcome(sandbox, path, SOON_S) == Reason.TIMEOUT


def _flac_block(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def test_a_hundred_thousand_tracks_are_refused(sandbox, good, tmp_path):
    path = tmp_path / "tracks.mp4"
    data = good.read_bytes()
    at = data.index(b"moov") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    tracks = struct.pack(">I4s", 8, b"trak") * 100_000
    moov = struct.pack(">I", size + len(tracks)) + data[at + 4 : at + size] + tracks
    path.write_bytes(data[:at] + moov + data[at + size :])
    assert probed(path).problem.reason in {Reason.MEMORY, Reason.TRUNCATED}
    assert outcome(sandbox, path) in {Reason.MEMORY, Reason.TRUNCATED}


@pytest.mark.parametrize("rate_hz", [1, 10_000_000])
def test_an_absurd_sample_rate_blows_nothing_up(sandbox, tmp_path, rate_hz):
    path = write_moving(tmp_path / "rate.mkv", 1.6, 25, audio_rate_hz=16_000, audio_codec="pcm_s16le")
    data = path.read_bytes()
    assert struct.pack(">d", 16_000) in data
    path.write_bytes(data.replace(struct.pack(">d", 16_000), struct.pack(">d", rate_hz)))
    assert probed(path).problem is None
    assert outcome(sandbox, path) == Reason.CORRUPT


def test_a_file_that_grows_is_read_as_long_as_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    source = Source(str(path))
    with path.open("ab") as file:
        file.write(b"y" * 100_000)
    assert source.read(1 << 20) == b"x" * 1000
    assert source.read(1 << 20) == b""
    source.release()
