import sys
from collections.abc import Callable

import pytest
from small_students import speech_folder, student_folder  # noqa: F401 (fixtures)

from liser_ray.__main__ import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys, monkeypatch) -> Run:
    """Runs ``liser-ray`` as it is typed; gives exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["liser-ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run
