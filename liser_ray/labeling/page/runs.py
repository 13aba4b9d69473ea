"""The runs of a job as the page shows them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from liser_ray.labeling.runs import RunRecord


@dataclass(frozen=True)
class StageTime:
    """What a stage of the pipeline did in a run.

    Attributes:
        name: of the stage.
        spans: that went through it.
        busy_s: seconds at work, all its actors together.
        actors: how many there were.
        num_cpus, num_gpus: that each of them held.
    """

    name: str
    spans: int
    busy_s: float
    actors: int
    num_cpus: float
    num_gpus: float


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Attributes:
        started: with its time zone.
        seconds: it took, or has taken so far.
        finished: False if it runs still or was ended from outside.
        cluster: resources of the cluster by name.
        elapsed_s: times since the start at which it was looked at, rising, float64 [n].
        spans: done by then in this run, float64 [n].
        video_s: seconds of video in these, float64 [n].
        stages: in the order of the pipeline.
    """

    started: datetime
    seconds: float
    finished: bool
    cluster: dict[str, float]
    elapsed_s: np.ndarray
    spans: np.ndarray
    video_s: np.ndarray
    stages: tuple[StageTime, ...]

    @property
    def n_spans(self) -> int:
        """Spans done in this run."""
        return int(self.spans[-1]) if len(self.spans) else 0

    @property
    def speed(self) -> float:
        """Hours of video per hour; 0 if nothing is known of it."""
        return float(self.video_s[-1]) / self.seconds if len(self.video_s) and self.seconds > 0 else 0.0

    def speeds(self, n_points: int) -> tuple[list[datetime], np.ndarray]:
        """The run in at most this many stretches: their ends [n + 1], and hours of video per hour in each [n]."""
        if not len(self.elapsed_s) or self.elapsed_s[-1] <= 0:
            return [], np.empty(0)
        ends_s = np.linspace(0, self.elapsed_s[-1], min(n_points, len(self.elapsed_s)) + 1)
        done_s = np.interp(ends_s, [0.0, *self.elapsed_s], [0.0, *self.video_s])
        return [self.started + timedelta(seconds=one) for one in ends_s.tolist()], np.diff(done_s) / np.diff(ends_s)


def as_shown(record: RunRecord) -> Run:
    """A record's run."""
    elapsed_s, spans, video_s = np.array(record.samples, np.float64).reshape(-1, 3).T
    stages = tuple(
        StageTime(name, int(one["spans"]), one["busy_s"], int(one["actors"]), one["num_cpus"], one["num_gpus"])
        for name, one in record.stages.items()
    )
    started = datetime.fromisoformat(record.started)
    return Run(started, record.seconds, record.finished, record.cluster, elapsed_s, spans, video_s, stages)
