from dataclasses import replace

import pytest
from tone_files import write_tone_labels, write_tones

from liser_ray.demo.steps import TRAIN, compare_students
from liser_ray.prediction.student import Student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A demo's folder as far as its students need it, with tones in place of speech."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "corpus/audio").mkdir(parents=True)
    manifest = write_tones(folder / "corpus/audio", "labels")
    write_tone_labels(folder / "labels", manifest)
    return folder


def test_two_students_side_by_side_and_pictures_of_them(folder, capsys):
    difference = compare_students(folder, replace(TRAIN, epochs=1, batch_size=10))
    assert "8 speakers" in difference
    text = capsys.readouterr().out
    for words in ("no-dstl+25%-speakers: UAR .", "conf-vid-sp-dstl+25%-speakers: UAR ."):
        assert words in text
    used = Student.from_pretrained(folder / "students/conf-vid-sp-dstl")
    assert used.card.of_all_speakers
    assert used.card.content["cross_validated"]["speakers"] == 8
    for name in ("differences", "speakers"):
        assert (folder / f"students/{name}.png").read_bytes().startswith(b"\x89PNG")
