import pytest

from liser_ray.demo.folders import made_before, new_folder


def test_nothing_is_left_after_an_error(tmp_path):
    def fill_and_fail():
        with new_folder(tmp_path / "corpus", {"seed": 0}) as unfinished:
            (unfinished / "half.mp4").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_replaces_the_folder(tmp_path):
    folder = tmp_path / "corpus"
    for seed in (0, 1):
        with new_folder(folder, {"seed": seed}) as unfinished:
            (unfinished / f"{seed}.txt").write_text("")
    assert made_before(folder, {"seed": 1})
    assert not made_before(folder, {"seed": 0})
    assert sorted(path.name for path in folder.iterdir()) == ["1.txt", "demo.json"]
