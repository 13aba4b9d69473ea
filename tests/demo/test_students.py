from tone_files import write_tone_labels, write_tones

from liser_ray.demo import students
from liser_ray.student.training.config import TrainConfig


def test_two_students_side_by_side_and_pictures_of_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(students, "TRAIN", TrainConfig(epochs=1, batch_size=10))
    (tmp_path / "corpus/audio").mkdir(parents=True)
    manifest = write_tones(tmp_path / "corpus/audio", "labels")
    write_tone_labels(tmp_path / "labels", manifest)
    students.compare_students(tmp_path)
    text = capsys.readouterr().out
    for words in ("no-dstl: UAR .", "conf-vid-sp-dstl: UAR .", "difference ", "8 speakers"):
        assert words in text
    for name in ("differences", "speakers"):
        assert (tmp_path / f"students/{name}.png").read_bytes().startswith(b"\x89PNG")
