"""Pools of workers for a cluster, and how fast it will be: arithmetic on what was measured."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from liser_ray.calibration.measurements import Costs, Measurements
from liser_ray.labeling.config import (
    CPU_SPANS,
    SPEECH_GPU_SHARE,
    VIDEO_GPU_SHARE,
    LabelConfig,
    Pool,
    PoolConfig,
    Pools,
    Prices,
)
from liser_ray.runtime.cluster import CPUS_FOR_RAY
from liser_ray.runtime.errors import UserError

_BATCHES_PER_CALL = 4  # the last one of a call may be part empty, and the next one is copied while the device works
_MOST_SPANS_PER_CALL = 32  # 2.3 GB of clips


@dataclass(frozen=True)
class Cluster:
    """A cluster to size pools for.

    Attributes:
        cpus: that Ray counts with, all nodes together.
        gpus: all nodes together.
        nodes: that do the work.
        cpus_for_ray: that the pools leave to Ray's own steps.
    """

    cpus: float
    gpus: int
    nodes: int
    cpus_for_ray: float

    @classmethod
    def of(cls, cpus: float, gpus: int, nodes: int) -> "Cluster":
        """With a CPU of each node left to Ray, and two in any case."""
        return cls(cpus, gpus, nodes, max(CPUS_FOR_RAY, nodes))

    def __str__(self) -> str:
        gpus = f" and {self.gpus:,} GPU{'s' * (self.gpus != 1)}" if self.gpus else ""
        return f"{self.cpus:,g} CPU{'s' * (self.cpus != 1)}{gpus} on {self.nodes:,} node{'s' * (self.nodes != 1)}"


@dataclass(frozen=True)
class Sizing:
    """Pools for a cluster and what they will do, at best: nothing waits for the store, a node or Ray.

    Attributes:
        cluster: which.
        pools: as they will be started.
        media_video_s_per_s: seconds of video per second that the decoders can do.
        teachers_video_s_per_s: and the teachers; without GPUs, what the cores can do that all stages share.
        decoders_per_gpu: cores of decoding that keep one GPU busy; None without GPUs.
        clip_bytes: of face clips on their way at a time, in the object stores of all nodes.
    """

    cluster: Cluster
    pools: Pools
    media_video_s_per_s: float
    teachers_video_s_per_s: float
    decoders_per_gpu: float | None
    clip_bytes: int

    @property
    def video_s_per_s(self) -> float:
        """Seconds of video per second: what the slower of the two can do."""
        return min(self.media_video_s_per_s, self.teachers_video_s_per_s)

    @property
    def bottleneck(self) -> Literal["CPU", "GPU"]:
        """What the other one waits for."""
        on_gpus = self.cluster.gpus and self.teachers_video_s_per_s <= self.media_video_s_per_s
        return "GPU" if on_gpus else "CPU"

    @property
    def hours_per_day(self) -> float:
        """Hours of video in a day."""
        return 24 * self.video_s_per_s

    def cost_per_1000_hours(self, prices: Prices) -> float | None:
        """What 1,000 hours of video cost; None without prices. All CPUs and GPUs of the cluster are paid for."""
        per_hour = self.cluster.cpus * prices.cpu_hour + self.cluster.gpus * prices.gpu_hour
        return 1000 * per_hour / self.video_s_per_s if per_hour else None


def size_pools(measured: Measurements, cluster: Cluster, config: LabelConfig) -> Sizing:
    """Pools that fit a cluster and keep it busy.

    Each GPU takes a worker of each teacher, and all CPUs that they leave decode. Without GPUs each node has a worker of
    each teacher, and every stage holds CPUs in proportion to what it costs. CPUs that the settings give a worker
    (``num_cpus``) stay; all else is sized.

    Raises:
        UserError: the teachers were measured on another device than the cluster has, or it has no CPU to decode with.
    """
    costs = measured.costs
    if bool(cluster.gpus) != costs.on_gpu:
        raise UserError(
            f"The teachers were measured on a {'GPU' if costs.on_gpu else 'CPU'}, which says nothing about "
            f"{cluster}. Measure where the cluster's workers are of the kind that you want to size for."
        )
    usable = cluster.cpus - cluster.cpus_for_ray
    teachers = cluster.gpus or cluster.nodes
    video_cpus = _stays(config.video_pool, _teacher_cpus(costs, costs.video_s, usable, teachers))
    speech_cpus = _stays(config.speech_pool, _teacher_cpus(costs, costs.speech_s, usable, teachers))
    left = usable - teachers * (video_cpus + speech_cpus)
    if left <= 0:
        raise UserError(
            f"{cluster} leave no CPU to decode with: {cluster.cpus_for_ray:g} are for Ray's own steps and "
            f"{teachers * (video_cpus + speech_cpus):g} for {2 * teachers} workers of the teachers. Add CPUs."
        )
    decoder_cpus = config.media_pool.num_cpus
    if decoder_cpus > 0:
        decoders = max(1, int(left / decoder_cpus + 1e-9))
        decoder_cpus = min(decoder_cpus, left)
    else:
        decoders = math.ceil(left - 1e-9)
        decoder_cpus = left / decoders if decoder_cpus else 0.0
    video_batch, speech_batch = measured.video.best.batch_size, measured.speech.best.batch_size
    handed_over = config.media_pool.batch_spans or CPU_SPANS
    pools = Pools(
        Pool(decoders, _round_down(decoder_cpus), 0.0, handed_over),
        Pool(
            teachers,
            _round_down(video_cpus),
            VIDEO_GPU_SHARE if cluster.gpus else 0.0,
            _batch_spans(video_batch, measured.media.windows_per_span, handed_over),
        ),
        Pool(
            teachers,
            _round_down(speech_cpus),
            SPEECH_GPU_SHARE if cluster.gpus else 0.0,
            _batch_spans(speech_batch, measured.speech_windows_per_span, handed_over),
        ),
    )
    # A decoder has a span in hand; a worker of the video teacher has a batch of them, and the next one waits.
    in_flight = decoders + 2 * teachers * pools.video.batch_spans
    return Sizing(
        cluster,
        pools,
        media_video_s_per_s=min(decoders, left) / costs.media_s,
        teachers_video_s_per_s=cluster.gpus / costs.teachers_s
        if costs.on_gpu
        else usable / (costs.media_s + costs.teachers_s),
        decoders_per_gpu=costs.media_s / costs.teachers_s if costs.on_gpu else None,
        clip_bytes=in_flight * measured.media.clip_bytes,
    )


def settings(measured: Measurements, sizing: Sizing) -> dict[str, Any]:
    """The labeling job's settings that follow, for its ``--config``."""
    return {
        "media_pool": asdict(sizing.pools.media),
        "video_pool": asdict(sizing.pools.video),
        "speech_pool": asdict(sizing.pools.speech),
        "video_teacher": {"batch_size": measured.video.best.batch_size},
        "speech_batch_size": measured.speech.best.batch_size,
    }


def _teacher_cpus(costs: Costs, teacher_s: float, usable: float, workers: int) -> float:
    """CPUs that a teacher's worker holds: one beside a GPU, less where there are few; else the teacher's share."""
    if costs.on_gpu:
        return min(1.0, usable / (4 * workers))
    return usable / workers * teacher_s / (costs.media_s + costs.teachers_s)


def _stays(pool: PoolConfig, fitted: float) -> float:
    return pool.num_cpus if pool.num_cpus >= 0 else fitted


def _batch_spans(batch_size: int, windows_per_span: float, handed_over: int) -> int:
    """Spans that fill a few batches: a multiple of those that come together, since Ray would copy them to cut them."""
    wanted = math.ceil(_BATCHES_PER_CALL * batch_size / windows_per_span / handed_over)
    return handed_over * max(1, min(wanted, _MOST_SPANS_PER_CALL // handed_over))


def _round_down(cpus: float) -> float:
    """To thousandths: Ray counts in ten-thousandths, and rounding up would ask for more than there is."""
    return math.floor(1000 * cpus + 1e-6) / 1000
