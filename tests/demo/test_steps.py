import re
from dataclasses import replace

import pytest
from tone_files import write_tone_labels, write_tones

from liser_ray.demo.steps import TRAIN, compare_students, demo_settings, step
from liser_ray.labeling.config import LabelConfig
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A demo's folder as far as its students need it, with tones in place of speech."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "corpus/audio").mkdir(parents=True)
    manifest = write_tones(folder / "corpus/audio", "labels")
    write_tone_labels(folder / "labels", manifest)
    return folder


def test_teachers_without_an_input_are_not_dropped_in_silence():
    with pytest.raises(UserError, match="Give --input"):
        demo_settings(LabelConfig(teachers={"energy": {"kind": "energy"}}))


def test_a_step_is_one_line_whatever_its_job_prints(capsys):
    with step(2, 6, "labels") as results:
        print("a table that is for who runs the job by itself")
        results.append("14 rows in out/demo/labels")
    assert re.fullmatch(r"\[2/6\] labels +14 rows in out/demo/labels  0:00\n", capsys.readouterr().out)


def test_two_students_side_by_side_and_pictures_of_them(folder):
    train = replace(TRAIN, epochs=1, epoch_steps=2, batch_size=10)
    found = compare_students(folder, {"speech": 5.0, "face": 0.5}, train)
    assert re.fullmatch(r"UAR [01]\.\d\d from labels alone, [01]\.\d\d with teachers: .+ more, 95 % interval", found)
    used = Student.from_pretrained(folder / "students/conf-vid-sp-dstl")
    assert used.card.of_all_speakers
    assert used.card.content["cross_validated"]["speakers"] == 8
    for name in ("differences", "speakers"):
        assert (folder / f"students/{name}.png").read_bytes().startswith(b"\x89PNG")
