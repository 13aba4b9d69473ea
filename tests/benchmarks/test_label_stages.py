import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "label_stages.py"


@pytest.mark.soak
def test_a_quick_run_prints_every_stage_both_ways(test_data: Path, yunet_home: Path):
    environment = {**os.environ, "LISER_TEST_DATA": str(test_data), "DEEPFACE_HOME": str(yunet_home)}
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], env=environment, capture_output=True, text=True, timeout=800
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line.startswith("|")]
    speeds = {row[0].strip("*"): row[1:3] for row in rows[2:]}
    assert float(speeds["media stage as a whole"][0]) > float(speeds["media stage as a whole"][1])
    for stage in ("decode pictures and sound", "faces as a whole", "voice activity (Silero)"):
        assert all(float(speed.replace(",", "")) > 0 for speed in speeds[stage])
    assert speeds["rows as Parquet"][1] == "–"
