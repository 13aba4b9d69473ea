"""Recordings that name other files and hosts: none of these is ever opened."""

import av
import pytest
from attack_files import Listener, write_attacks
from media_files import write_moving

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.recordings import VIDEO_SUFFIXES, Recording
from liser_ray.corpora.speech import read_waveform
from liser_ray.media import container
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.media.waveform import WaveformError

FOLLOWED_BY_FFMPEG = {"file.m3u8", "path.m3u8", "http.m3u8", "key.m3u8", "master.m3u8"}


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secret")
    for name in ("a.ts", "a.mp4", "a.mov"):
        write_moving(folder / name, 1)
    return folder


@pytest.fixture
def listener(secret):
    with Listener(secret / "a.ts") as listening:
        yield listening


@pytest.fixture
def attacks(tmp_path, secret, listener):
    return write_attacks(tmp_path, secret, listener.endpoint)


def n_bytes(opened):
    return sum(packet.size for packet in opened.demux())


def test_the_attacks_are_real_where_ffmpeg_is_not_told_better(attacks, listener, secret, monkeypatch):
    monkeypatch.chdir(secret)
    followed = set()
    for name in FOLLOWED_BY_FFMPEG:
        before = len(listener.asked)
        with attacks[name].open("rb") as file:
            try:
                with av.open(file, timeout=5) as opened:
                    got = n_bytes(opened)
            except av.FFmpegError:
                got = 0
        if got > 1000 or len(listener.asked) > before:
            followed.add(name)
    assert followed == FOLLOWED_BY_FFMPEG
    with av.open(_Nameless(attacks["dref.mov"]), options={"enable_drefs": "1"}) as opened:
        assert n_bytes(opened) > 1000


class _Nameless:
    def __init__(self, path):
        file = path.open("rb")
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def test_no_playlist_script_or_reference_is_followed(attacks, listener, secret, tmp_path, monkeypatch):
    monkeypatch.chdir(secret)
    paths = dict(attacks)
    for name in attacks:
        paths[f"{name}.mp4"] = tmp_path / f"{name}.mp4"
        paths[f"{name}.mp4"].write_bytes(attacks[name].read_bytes())
    recordings = [Recording(str(path), path.stat().st_size, "v") for path in paths.values()]
    for name, probed in zip(paths, probe_all(recordings, PlanConfig(probe_workers=1)), strict=True):
        if not name.startswith("dref"):
            assert probed.problem.reason == Reason.NOT_MEDIA, name
            assert "no container of video or sound" in probed.problem.detail
            with pytest.raises(WaveformError, match="no container of video or sound"):
                read_waveform(probed.recording.uri)
    assert listener.asked == []


def test_a_movie_whose_data_lie_elsewhere_has_none(attacks, secret, monkeypatch):
    monkeypatch.chdir(secret)
    with Reader(str(attacks["dref.mov"])) as reader, pytest.raises(MediaError, match=r"Reason\.TRUNCATED"):
        list(reader.span(0, 1))
    with pytest.raises(WaveformError, match="no samples"):
        read_waveform(str(attacks["dref.mov"]))


def test_what_a_container_names_finds_no_protocol(attacks, secret, monkeypatch):
    """The second line: should FFmpeg follow references by itself one day, or know one more kind of them."""
    monkeypatch.chdir(secret)
    monkeypatch.setattr(container, "_OPTIONS", container._OPTIONS | {"enable_drefs": "1", "use_absolute_path": "1"})
    with container.open_container(_Nameless(attacks["dref.mov"])) as opened:
        assert n_bytes(opened) == 0
    without_first_line = {"protocol_whitelist": container._OPTIONS["protocol_whitelist"]}
    monkeypatch.setattr(container, "_OPTIONS", without_first_line)
    for name in ("here.ffconcat", "rtp.sdp"):
        with pytest.raises(av.FFmpegError):
            container.open_container(_Nameless(attacks[name]))


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_kind_of_video_that_a_listing_takes_is_opened(tmp_path, suffix):
    with Reader(str(write_moving(tmp_path / f"a{suffix}", 0.6, 25))) as reader:
        assert (reader.header.has_video, reader.header.has_audio) == (True, True)
        assert sum(frame.n_cells for frame in reader.span(0, 0.4)) > 5
