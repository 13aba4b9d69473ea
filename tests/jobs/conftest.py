from collections.abc import Sequence
from pathlib import Path

import pytest
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
