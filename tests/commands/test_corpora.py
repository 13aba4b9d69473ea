import sys
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
    folder = write(tmp_path / "data [clean]", "03a01Fa.wav", "03a02Na.wav", "08a01Wa.wav", "x.wav")
    (folder / "08a02Wa.wav").write_text("no sound")
    code, out, _ = run(folder)
    assert code == 0
    assert out.startswith(f"--labeled 'emodb:{folder}'\n")
    for words in ("4, 0:08", "2, man 1, woman 1", "anger 2", "boredom 0", "happiness 1", "1 other files"):
        assert words in out
    assert [line.split()[1] for line in out.splitlines() if "unreadable" in line] == ["unreadable"]


def test_a_folder_with_no_set_that_is_known(run, tmp_path):
    code, _, errors = run(write(tmp_path / "data", "a.wav", "b.wav"))
    assert code == 2
    assert "holds none of ravdess, cremad" in errors
    assert "with the columns path, label and speaker" in errors


def test_what_is_a_list_or_can_only_be_labeled_says_how_it_is_given(run, tmp_path):
    (tmp_path / "mine.tsv").touch()
    (tmp_path / "x.zip").touch()
    assert (
        f"is a list, and needs no name of a set before it: --labeled {tmp_path}/mine.tsv"
        in run(tmp_path / "mine.tsv")[2]
    )
    assert "Unpack it" in run(tmp_path / "x.zip")[2]
    folder = write(tmp_path / "msp_face")
    (folder / "segments_data.txt").touch()
    code, _, errors = run(folder)
    assert code == 2
    assert f"liser-ray label --input mspface:{folder} --media_folder VIDEOS" in errors


def test_nothing_there(run, tmp_path):
    code, _, errors = run(tmp_path / "missing")
    assert code == 2
    assert "nothing there" in errors


def test_a_set_of_one_s_own_format_with_a_split(run, tmp_path):
    folder = write(tmp_path / "calls", "a.wav", "b.wav", "c.wav")
    for part, rows in {"train": "../a.wav,x,1\n../b.wav,y,2\n", "test": "../c.wav,x,2\n"}.items():
        (folder / part).mkdir()
        (folder / part / "metadata.csv").write_text("file_name,label,speaker\n" + rows.replace("../", ""))
    for name, part in (("a", "train"), ("b", "train"), ("c", "test")):
        (folder / f"{name}.wav").rename(folder / part / f"{name}.wav")
    code, out, _ = run(folder)
    assert code == 0
    assert out.startswith(f"--labeled audiofolder:{folder}\n")
    for words in ("3, 0:08", "train 2, test 1", "1 of these speakers, trained and tested on", "x 2, y 1"):
        assert words in out


def test_of_a_segment_its_own_length_counts(run, tmp_path):
    folder = write(tmp_path / "calls", "a.wav")
    rows = "a.wav,0,0.5,x,1\na.wav,0.5,1.5,y,2\na.wav,5,6,y,2\n"
    (folder / "metadata.csv").write_text("file_name,start,end,label,speaker\n" + rows)
    _, out, _ = run(folder)
    assert "3, 0:02" in out
    assert "unreadable" in out


def test_a_set_that_is_there_and_can_not_be_used_says_why(run, tmp_path, monkeypatch):
    folder = write(tmp_path / "data", "a.wav")
    (folder / "metadata.csv").write_text("file_name,text\na.wav,hello\n")
    code, _, errors = run(folder)
    assert code == 2
    assert "no column 'label' or 'emotion'" in errors
    monkeypatch.setitem(sys.modules, "audformat", None)
    (folder / "db.yaml").write_text("name: x\n")
    assert "pip install 'liser-ray[audformat]'" in run(folder)[2]
    write(folder / "wav", "03a01Fa.wav", "08a01Wa.wav")
    code, out, _ = run(folder)
    assert code == 0
    assert out.startswith(f"--labeled emodb:{folder}\n")
    assert "Not to be used" in out
    assert "pip install 'liser-ray[audformat]'" in out
