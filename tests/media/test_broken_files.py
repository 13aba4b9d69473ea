"""Files with bytes flipped, cut out, repeated and missing: each ends in bounded time, as sound, labels or a reason."""

import time
from collections import Counter
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_files import voice_like, write_moving

from liser_ray.corpora.headers import read_headers
from liser_ray.corpora.speech import read_waveform
from liser_ray.media.faces import FaceConfig
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.span import MediaConfig, Needs, prepare_span
from liser_ray.media.waveform import WaveformError
from liser_ray.prediction.sound import file_blocks, open_sound

TIMEOUT_S = 60.0
CONFIG = MediaConfig(faces=FaceConfig("opencv"))
DAMAGES = ("flipped", "flipped in the header", "cut off", "cut out", "repeated", "zeroed")


def damaged(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """What was done to a file, and the file."""
    how = DAMAGES[rng.integers(len(DAMAGES))]
    first = int(rng.integers(len(data)))
    length = int(min(len(data) - first, rng.integers(1, 1 + len(data) // 4)))
    if how.startswith("flipped"):
        changed = np.frombuffer(data, np.uint8).copy()
        reach = len(data) if how == "flipped" else min(len(data), 4096)
        places = rng.integers(reach, size=int(2 ** rng.uniform(0, 9)))
        if how != "flipped" and rng.random() < 0.5:
            places = len(data) - 1 - places  # an MP4's header may be at its end
        changed[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
        return how, changed.tobytes()
    if how == "cut off":
        return how, data[:first]
    middle = {"cut out": b"", "repeated": 2 * data[first : first + length], "zeroed": bytes(length)}[how]
    return how, data[:first] + middle + data[first + length :]


def sound_as_trained(path: str) -> str:
    """How a recording ends in training and evaluation, and in `predict`: "" as sound, else the reason."""
    found = []
    for read in (read_waveform, _predicted):
        try:
            read(path)
            found.append("")
        except WaveformError as error:
            found.append(error.reason)
    assert found[0] == found[1]
    return found[0]


def _predicted(path: str) -> None:
    with open_sound(path) as source:
        for _ in file_blocks(source):
            pass


def labeled(path: str) -> str:
    """How a recording ends in a labeling job."""
    (header,) = read_headers([path])
    if isinstance(header, MediaError):
        return f"plan: {header.reason}"
    duration_s = header.duration_s or 5.0
    media = prepare_span(path, 0.0, min(2.0, max(0.6, duration_s)), CONFIG, Needs())
    return f"media: {media.problem.reason}" if media.problem else "labeled"


def outcomes(sources: list[Path], n_files: int, seed: int, folder: Path) -> tuple[Counter[tuple[str, str]], float]:
    """How many files ended how, in training and in labeling, and the longest time of one."""
    rng = np.random.default_rng(seed)
    ends: Counter[tuple[str, str]] = Counter()
    longest_s = 0.0
    with Sandbox(workers=2, memory_mb=2048, preload=[prepare_span.__module__]) as sandbox:
        calls = {}
        for number in range(n_files):
            source = sources[number % len(sources)]
            how, data = damaged(source.read_bytes(), rng)
            path = folder / f"{number}{source.suffix}"
            path.write_bytes(data)
            for call in (sound_as_trained, labeled):
                calls[sandbox.submit(_timed, call, str(path), timeout_s=TIMEOUT_S)] = (call.__name__, path, how)
        for future in as_completed(calls):
            kind, path, how = calls[future]
            error, where = future.exception(), f"seed {seed}, {path.name} ({how})"
            end, took_s = (f"media: {getattr(error, 'reason', error)}", 0.0) if error else future.result()
            # In training and `predict` nothing ends a file that takes too long.
            expected = isinstance(error, MediaError) and error.reason is not Reason.CRASH and kind == labeled.__name__
            assert error is None or expected, f"{where}: {error!r}"
            assert end != f"plan: {Reason.CRASH}", where
            ends[kind, end] += 1
            longest_s = max(longest_s, took_s)
    return ends, longest_s


def _timed(call, path):
    began = time.monotonic()
    return call(path), time.monotonic() - began


def test_a_few_broken_files(tmp_path):
    sources = [write_moving(tmp_path / f"good{suffix}", 1.0, 25) for suffix in (".mp4", ".mkv", ".mpg", ".ts")]
    soundfile.write(tmp_path / "good.wav", voice_like(np.arange(16_000) / 16_000), 16_000)
    ends, _ = outcomes([*sources, tmp_path / "good.wav"], 15, 3, tmp_path)
    assert sum(ends.values()) == 30


@pytest.mark.soak
def test_three_hundred_broken_files(test_data, tmp_path):
    """Real recordings of all containers that there are: the figures are printed with ``-s``."""
    sources = sorted((test_data / "talking_heads").glob("*.m[pk]*"))
    sources += sorted((test_data / "hard_videos").glob("*.m[op]*"))[:2]
    sources += sorted(test_data.glob("ravdess/Actor_01/*.flac"))[:2]
    sources += sorted(test_data.glob("cremad_rebuilt/AudioWAV/*.ogg"))[:2]
    ends, longest_s = outcomes([one for one in sources if one.stat().st_size < 3 << 20], 300, 0, tmp_path)
    for (kind, end), count in sorted(ends.items()):
        print(f"{kind}: {end or 'sound'}: {count}")
    print(f"longest: {longest_s:.1f} s")
    assert sum(ends.values()) == 600
