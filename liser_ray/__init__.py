"""LiSER on Ray: unlabeled talking-head video into small speech-emotion models."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liser_ray.prediction.student import Student

__all__ = ["Student"]

__version__ = "0.2.0"


# Before it is imported: its wheels for Linux send its maker what models are run, and keep an identifier in ~/.cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> object:
    if name == "Student":  # when it is asked for: jobs on a cluster import this package in each worker
        from liser_ray.prediction.student import Student

        return Student
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
