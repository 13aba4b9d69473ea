import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = (BENCHMARKS / "gpu.sh").read_text()
LIMITS = dict(re.findall(r"^part (\w+) (\d+)", SCRIPT, re.MULTILINE))
"""Of all parts but the last, which takes what is left."""
BEFORE_S, TO_KILL_S, AFTER_S, LEFT_S = 15, 2, 10, 80


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable, "RAY_worker_niceness": "0", **environment}
    environment.pop("OUT", None)
    return subprocess.run(
        [str(BENCHMARKS / "gpu.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=3000
    )


def test_all_parts_together_end_in_time_and_the_readme_tells_their_limits():
    assert f"part compiled $((8 * 60 - {AFTER_S} - SECONDS))" in SCRIPT
    assert BEFORE_S + sum(int(limit) + TO_KILL_S for limit in LIMITS.values()) + LEFT_S + AFTER_S <= 8 * 60
    told = dict(re.findall(r"^\| `?(\w+)`? \| (\d+) s \|", (BENCHMARKS / "README.md").read_text(), re.MULTILINE))
    assert told == LIMITS


def test_a_part_that_failed_or_was_stopped_is_told_and_the_others_have_their_pages(tmp_path, capsys):
    import gpu_page

    (tmp_path / "parts.tsv").write_text("teachers\t31\t90\t0\nsearch\t60\t60\t124\ntraining\t2\t55\t1\n")
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers/teacher_speed_cuda.md").write_text("# Speed\n\nMade by hand.\n")
    (tmp_path / "teachers/teacher_speed_cuda.json").write_text(
        '{"figures": {"S2D": {"value": 1, "unit": "windows/s"}}}'
    )
    for name in ("teachers", "search", "training"):
        (tmp_path / f"{name}.log").write_text(f"{name} began\n{name} went on\n")
    assert gpu_page.main(["benchmarks/gpu.sh", str(tmp_path), str(tmp_path / "results")]) == 1
    text = (tmp_path / "results/gpu.md").read_text()
    assert capsys.readouterr().out == f"{text}\n"
    assert "| search | 60 | 60 | stopped at its limit |" in text
    assert "| training | 2 | 55 | failed (1) |" in text
    assert "## teachers\n\nMade by hand." in text
    assert "training went on" in text
    assert "teachers went on" not in text
    teachers, search, _ = json.loads((tmp_path / "results/gpu.json").read_text())["parts"]
    assert teachers["figures"]["figures"]["S2D"]["value"] == 1
    assert search["figures"] is None


def test_paths_are_named_from_where_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = run("--device", "cpu", PYTHON="other/python")
    assert wrong.returncode == 1
    assert f"{tmp_path}/other/python has no PyTorch" in wrong.stderr


def test_what_it_does_not_know_is_told_by_its_usage():
    wrong = run("--fast")
    assert wrong.returncode == 2
    assert "--device cpu --quick" in wrong.stderr


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_quick_run_has_a_page_of_every_part(test_data: Path, yunet_home: Path, tmp_path: Path):
    data = {"LISER_TEST_DATA": str(test_data), "DEEPFACE_HOME": str(yunet_home)}
    quick = run("--device", "cpu", "--quick", "--results", str(tmp_path), **data)
    assert quick.returncode == 0, quick.stdout[-3000:] + quick.stderr[-2000:]
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert {one["name"]: one["end"] for one in content["parts"]} == dict.fromkeys([*LIMITS, "compiled"], "done")
    figures = {one["name"]: one["figures"]["figures"] for one in content["parts"] if one["figures"]}
    assert figures.keys() == {*LIMITS, "compiled"} - {"parity"}
    assert all(figure["value"] >= 0 for one in figures.values() for figure in one.values())
    for name in ("job_steady", "job_media_at_work", "job_decoders_for_the_teachers"):
        assert figures["labeling"][name]["value"] >= 0
    assert " passed" in (tmp_path / "gpu.md").read_text()
