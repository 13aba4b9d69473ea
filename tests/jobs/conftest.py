from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from job_scripts import load_job

from liser_ray.runtime import exits

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def run(capsys):
    """Run a job in this process, which saves importing everything anew: (exit code, stdout, stderr)."""

    def call(job: str, *arguments: object) -> tuple[int, str, str]:
        try:
            exits.run(load_job(JOBS / f"{job}.py").main, [str(one) for one in arguments])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run):
    """Run a wrong command: it ends with one clear message, which has all the ``words``."""

    def call(words: Sequence[str], *command: object) -> None:
        code, _, errors = run(*command)
        assert code == 2
        assert "Traceback" not in errors
        for word in words:
            assert word in errors

    return call


@pytest.fixture
def voices(tmp_path) -> Path:
    """A list of two loud and two quiet recordings by each of three speakers."""
    rng, rows = np.random.default_rng(0), ["path,label,speaker"]
    for speaker in range(3):
        for take, (label, level) in enumerate((("loud", 0.3), ("quiet", 0.05)) * 2):
            soundfile.write(tmp_path / f"{speaker}_{take}.wav", level * rng.standard_normal(9000), 16_000)
            rows.append(f"{speaker}_{take}.wav,{label},s{speaker}")
    (tmp_path / "voices.csv").write_text("\n".join(rows))
    return tmp_path / "voices.csv"
