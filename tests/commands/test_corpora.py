from functools import partial

import numpy as np
import pytest
import soundfile


@pytest.fixture
def run(command):
    return partial(command, "corpora")


def write(folder, *names):
    folder.mkdir()
    for name in names:
        soundfile.write(folder / name, np.zeros(40_000), 16_000)
    return folder


def test_what_lies_in_a_folder(run, tmp_path):
    folder = write(tmp_path / "data", "03a01Fa.wav", "03a02Na.wav", "08a01Wa.wav", "x.wav")
    (folder / "08a02Wa.wav").write_text("no sound")
    code, out, _ = run(folder)
    assert code == 0
    assert out.startswith(f"--labeled emodb:{folder}\n")
    for words in ("4, 0:08", "2, man 1, woman 1", "anger 2", "boredom 0", "happiness 1", "1 other files"):
        assert words in out
    assert [line.split()[1] for line in out.splitlines() if "unreadable" in line] == ["unreadable"]


def test_a_folder_with_no_set_that_is_known(run, tmp_path):
    code, _, errors = run(write(tmp_path / "data", "a.wav", "b.wav"))
    assert code == 2
    assert "holds none of ravdess, cremad" in errors
    assert "with the columns path, label and speaker" in errors


def test_nothing_there(run, tmp_path):
    code, _, errors = run(tmp_path / "missing")
    assert code == 2
    assert "nothing there" in errors
