from collections.abc import Sequence

import pytest
from job_scripts import load_job

from liser_ray.runtime import exits


@pytest.fixture
def run(request, capsys):
    """Run the module's ``JOB`` in this process, which saves importing everything anew: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        job = load_job(request.module.JOB)
        try:
            exits.run(job.main, [str(one) for one in arguments])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run):
    """Run a wrong command: it ends with one clear message, which has all the ``words``."""

    def call(words: Sequence[str], *arguments: object) -> None:
        code, _, errors = run(*arguments)
        assert code == 2
        assert "Traceback" not in errors
        for word in words:
            assert word in errors

    return call
