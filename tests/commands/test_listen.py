"""``liser-ray listen``, with a microphone that plays a file."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tones import tone

from liser_ray.__main__ import main

SPEECH = np.repeat(tone(1, 3.55, np.random.default_rng(0)), 3).astype(np.float32) / 32768  # 48 kHz


class Microphone:
    """What `sounddevice.InputStream` is to the command; Ctrl-C comes when the file ends."""

    def __init__(self, rate_hz: int, device: int | str | None, channels: int, dtype: str):
        assert (rate_hz, channels, dtype) == (48_000, 1, "float32")
        self._position = 0

    def read(self, n_frames: int) -> tuple[np.ndarray, bool]:
        if self._position + n_frames > len(SPEECH):
            raise KeyboardInterrupt
        chunk = SPEECH[self._position : self._position + n_frames, None]
        self._position += n_frames
        return chunk, False

    def __enter__(self) -> "Microphone":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class PortAudioError(Exception):
    pass


def query_devices(device: int | str | None, kind: str) -> dict[str, float]:
    if device == 7:
        raise PortAudioError("Error querying device 7")
    return {"default_samplerate": 48_000.0}


@pytest.fixture
def run(student_folder, capsys, monkeypatch):
    fake = SimpleNamespace(InputStream=Microphone, query_devices=query_devices, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["liser-ray", "listen", "--model", str(student_folder), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_an_estimate_every_tenth_of_a_second_until_ctrl_c(run):
    code, out, _ = run()
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["3.0", "3.1", "3.2", "3.3", "3.4"]


def test_a_microphone_that_is_not_there_is_named(run):
    code, _, errors = run("--microphone", "7")
    assert code == 2
    assert "python -m sounddevice" in errors
