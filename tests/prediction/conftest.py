from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_students import write_student
from tones import tone


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student as training writes it."""
    return write_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """low.wav (2 s), middle.flac (3.5 s) and deeper/high.wav (4 s)."""
    folder = tmp_path_factory.mktemp("speech")
    (folder / "deeper").mkdir()
    for name, label, duration_s in (("low.wav", 0, 2.0), ("middle.flac", 1, 3.5), ("deeper/high.wav", 2, 4.0)):
        soundfile.write(folder / name, tone(label, duration_s, np.random.default_rng(label)), 16_000)
    return folder
