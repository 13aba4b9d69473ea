"""The scripts in jobs/, inside the tests: `from job_scripts import load_job`."""

import importlib.util
from pathlib import Path
from types import ModuleType


def load_job(path: Path) -> ModuleType:
    """The script as a module, which is not run; in this process, which saves importing everything anew."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    return job
