import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "end_to_end.py"


@pytest.mark.soak
def test_a_quick_run_labels_every_span_each_way(test_data: Path, yunet_home: Path, tmp_path: Path):
    environment = {**os.environ, "LISER_TEST_DATA": str(test_data), "DEEPFACE_HOME": str(yunet_home)}
    environment["RAY_worker_niceness"] = "0"  # or the tests on Ray would go before it
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--results", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line.startswith("|")]
    spans = {row[0]: row[1] for row in rows if len(row) == 12}
    assert spans["the job"] == spans["plain pool, a process per core"] == "4"
    assert "Rows ended as labeled: 4," in run.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"end_to_end.md", "end_to_end.json"}
