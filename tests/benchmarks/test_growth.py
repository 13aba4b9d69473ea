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
    assert {path.name for path in tmp_path.iterdir()} == {"growth.md", "growth.json"}
