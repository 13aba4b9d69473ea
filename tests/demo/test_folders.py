import pytest

from liser_ray.demo.folders import make_once


def test_nothing_is_left_after_an_error(tmp_path):
    def fill_and_fail(unfinished):
        (unfinished / "half.mp4").write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_once(tmp_path / "corpus", {"seed": 0}, fill_and_fail)
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_replaces_the_folder(tmp_path):
    for seed in (0, 1):
        make_once(tmp_path / "corpus", {"seed": seed}, lambda made, seed=seed: (made / f"{seed}.txt").touch())
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == ["1.txt", "demo.json"]
