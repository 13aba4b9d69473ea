"""``liser-ray listen``, with a microphone that plays a file."""

import sys
from types import SimpleNamespace

import numpy as np
from small_students import ATTRIBUTES, write_student
from tones import tone

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


def query_devices(device: int | str | None, kind: str) -> dict[str, float]:
    if device == 7:
        raise ZeroDivisionError("Error querying device 7")
    return {"default_samplerate": 48_000.0}


def plug_in(monkeypatch):
    fake = SimpleNamespace(InputStream=Microphone, query_devices=query_devices, PortAudioError=ZeroDivisionError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)


def test_an_estimate_every_tenth_of_a_second_until_ctrl_c(command, student_folder, monkeypatch):
    """And a microphone that is not there is named."""
    plug_in(monkeypatch)
    code, out, _ = command("listen", "--model", student_folder)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["3.0", "3.1", "3.2", "3.3", "3.4"]
    code, _, errors = command("listen", "--model", student_folder, "--microphone", "7")
    assert code == 2
    assert "python -m sounddevice" in errors


def test_without_labels_attributes_are_all_that_is_said(command, tmp_path, monkeypatch):
    plug_in(monkeypatch)
    _, out, _ = command(
        "listen", "--model", write_student(tmp_path / "student", labels=["speech"], attributes=ATTRIBUTES)
    )
    assert [line.split()[2::2] for line in out.splitlines()] == [["arousal", "valence"]] * 5
