from liser_ray.demo import search as demo
from liser_ray.search.job import SearchResult
from liser_ray.search.results import RunScore, SettingResult
from liser_ray.search.space import grid, parse_space


def test_two_values_for_each_teacher_and_the_best_of_them(tmp_path, monkeypatch, capsys):
    def search(config):  # what it does is tested in tests/search
        axes = parse_space(config.space)
        results = [
            SettingResult(setting, "done", "", (RunScore(0, 0, 0.5 + 0.1 * number, 1, 1),), 1.0)
            for number, setting in enumerate(grid(axes))
        ]
        assert config.labeled == f"{tmp_path}/corpus/audio/labels.csv"
        return SearchResult(config.output, axes, tuple(results), (), len(results))

    monkeypatch.setattr(demo, "search", search)
    demo.search_lambdas(tmp_path)
    text = capsys.readouterr().out
    assert "λ_sd 5, λ_vd 5, UAR .800" in text
    assert f"{tmp_path}/search" in text
