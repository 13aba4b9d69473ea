"""LiSER on Ray: unlabeled talking-head video into small speech-emotion models."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liser_ray.prediction.student import Student

__all__ = ["Student"]

__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    if name == "Student":  # when it is asked for: jobs on a cluster import this package in each worker
        from liser_ray.prediction.student import Student

        return Student
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
