"""Records of a job's runs: how long each took, with what, how fast; and what an hour of video cost."""

import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from liser_ray.labeling.config import Prices
from liser_ray.storage.addresses import join
from liser_ray.storage.files import list_files, read_bytes


@dataclass
class RunRecord:
    """One run of the job, also one that was killed: the content of ``runs/*.json``, rewritten while it goes on.

    Attributes:
        started: ISO 8601, UTC.
        seconds: how long it has lasted.
        finished: whether it came to its end.
        cluster: CPUs and GPUs that Ray had when it was last looked at.
        cpu_seconds, gpu_seconds: what the cluster held over the run, used or not.
        samples: [seconds since the start, spans done, seconds of video in them]; the last one is the latest.
        stages: by stage its pool (``actors``, ``num_cpus``, ``num_gpus``) and its work (``spans``, ``busy_s``,
            ``windows``, ``slots``).
    """

    started: str
    seconds: float = 0.0
    finished: bool = False
    cluster: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    samples: list[tuple[float, int, float]] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)


def load_runs(folder: str) -> list[RunRecord]:
    """The records in an output's ``runs/``, the first run first."""
    files = [join(folder, posixpath.basename(info.path)) for info in list_files(folder, ".json")]
    records = [RunRecord(**json.loads(read_bytes(file))) for file in files]
    return sorted(records, key=lambda record: datetime.fromisoformat(record.started))


def throughput(runs: Sequence[RunRecord], prices: Prices) -> dict[str, Any]:
    """Video-hours per hour, per CPU-hour and per GPU-hour over all runs, and what 1,000 hours of video cost.

    CPUs and GPUs count for as long as the cluster held them during a run, busy or not, as they are paid for. What could
    not be known (no GPU, no price) is None.
    """
    video_h = sum(run.samples[-1][2] for run in runs if run.samples) / 3600
    hours, cpu_hours, gpu_hours = (
        sum(getattr(run, name) for run in runs) / 3600 for name in ("seconds", "cpu_seconds", "gpu_seconds")
    )
    cost = cpu_hours * prices.cpu_hour + gpu_hours * prices.gpu_hour
    return {
        "runs": len(runs),
        "hours": round(hours, 4),
        "video_hours": round(video_h, 4),
        "video_hours_per_hour": _rate(video_h, hours),
        "video_hours_per_cpu_hour": _rate(video_h, cpu_hours),
        "video_hours_per_gpu_hour": _rate(video_h, gpu_hours),
        "cost": round(cost, 2) if cost else None,
        "cost_per_1000_video_hours": _rate(1000 * cost, video_h) if cost else None,
        "currency": prices.currency,
    }


def _rate(amount: float, per: float) -> float | None:
    return float(f"{amount / per:.4g}") if per else None
