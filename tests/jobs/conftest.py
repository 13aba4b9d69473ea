import importlib.util

import pytest

from liser_ray import cli


@pytest.fixture
def run(request, capsys):
    """Run the module's ``JOB`` in this process, which saves importing everything anew: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        spec = importlib.util.spec_from_file_location("job", request.module.JOB)
        job = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(job)
        try:
            cli.run(job.main, [str(one) for one in arguments])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return call
