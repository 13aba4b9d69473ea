"""Sound and picture of a window are of the same moment, whatever was done to the file: cut, joined, shifted."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_files import CODECS, write_flash_click

from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.spans import cut
from liser_ray.media.clips import WINDOW_CELLS
from liser_ray.media.outcome import MediaError
from liser_ray.media.reader import Reader
from liser_ray.media.span import common_cells

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


def labeled_parts(path):
    """Of each planned span that can be labeled: its times in the recording, the flashes and the clicks in it."""
    (header,) = read_headers([str(path)])
    if isinstance(header, MediaError):
        return []
    found = []
    with Reader(str(path)) as reader:
        for span in cut("id", header.duration_s, 16, header.breaks_s):
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
@given(st.sampled_from(FORMATS), st.lists(pieces, min_size=1, max_size=3), st.floats(0.5, 1), st.booleans())
def test_flashes_and_clicks_stay_together(clips, tmp_path_factory, suffix, edits, kept, is_cut):
    folder = tmp_path_factory.mktemp("edited")
    if suffix == ".avi":  # it counts its pictures and its sound from zero
        edits = [one | {"shift_s": 0.0, "sound_s": (0.0, one["sound_s"][1]), "picture_s": (0.0, CLIP_S)} for one in edits]
    parts = [remux(clips[suffix], folder / f"{k}{suffix}", **one) for k, one in enumerate(edits)]
    data = b"".join(parts)
    path = folder / f"edited{suffix}"
    path.write_bytes(data[: int(len(data) * kept)] if is_cut else data)
    n_paired = assert_paired(labeled_parts(path))
    if not is_cut:
        common = [
            (max(one["picture_s"][0] + 0.4, one["sound_s"][0]), min(one["picture_s"][1], one["sound_s"][1]))
            for one in edits
        ]
        # What is late begins with a window, of 0.53 s.
        least = sum(start + 0.6 + EDGE_S < t < end - EDGE_S - 0.05 for start, end in common for t in FLASHES_S)
        assert n_paired >= least, f"{n_paired} of {least}"
