"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real recordings (talking_heads/, hard_videos/, ravdess/); skips where it is absent."""
    path = Path(os.environ.get("LISER_TEST_DATA", _SHARED / "data"))
    if not (path / "talking_heads").is_dir():
        pytest.skip(f"no real recordings at {path}: set LISER_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def yunet_home(test_data: Path) -> Path:
    """Value for DEEPFACE_HOME with YuNet's weights in it; skips where they are absent."""
    home = Path(os.environ.get("DEEPFACE_HOME", test_data.parent / "weights"))
    if not (home / ".deepface/weights/face_detection_yunet_2023mar.onnx").is_file():
        pytest.skip(f"no YuNet weights below {home}: set DEEPFACE_HOME")
    return home
