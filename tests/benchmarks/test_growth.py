import pytest


@pytest.mark.soak
def test_a_quick_run_labels_every_span(yunet_home, tmp_path, monkeypatch, capsys):
    import growth

    monkeypatch.setenv("DEEPFACE_HOME", str(yunet_home))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    growth.main(["--quick", "--results", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert [row[:2] for row in rows if row[0].isdigit()] == [["10", "10"]]
    assert not list(tmp_path.iterdir())


def test_what_grows_faster_than_linearly_is_named():
    import growth

    exponents = {"work": 0.98, "per_span": -0.02, "driver_memory": 0.1, "memory": None}
    assert growth.verdict(exponents) == "Nothing grows faster than linearly."
    assert "s per span, steady (exponent 0.30)" in growth.verdict({**exponents, "per_span": 0.3})
    assert "first span to the end, s (exponent 1.30)" in growth.verdict({**exponents, "work": 1.3})
