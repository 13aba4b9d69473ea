"""The calibration from its settings to a file that the labeling job takes."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

import ray
import yaml
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.calibration.measurements import Measurements, NodeFacts
from liser_ray.calibration.media import MediaSpeed
from liser_ray.calibration.node import NodeMeter
from liser_ray.calibration.sample import Sample, draw_sample
from liser_ray.calibration.sizing import Cluster, Sizing, settings, size_pools
from liser_ray.calibration.teachers import TeacherSpeed
from liser_ray.corpora.spans import SPEECH_TEACHER_BYTES_PER_S, TABLE_BYTES_PER_S
from liser_ray.media.detector import check_detector
from liser_ray.runtime.cluster import cluster_size, start_ray, started_here, users_errors
from liser_ray.runtime.display import LiveDisplay
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import check_readable, check_writable, write_bytes

log = logging.getLogger(__name__)

RESULT_FILE, SETTINGS_FILE = "calibrate.json", "calibrated.yaml"

_NODE_WAIT_S = 20 * 60  # a spot node that installs everything takes 5 to 10 minutes
_LOADING, _LOADING_S = "loading the teachers", 15  # for the time left: Transformers alone takes 10

_HEADER = """\
# Made by jobs/calibrate.py for {cluster}. On top of the settings that it was made from:
#   python jobs/label_corpus.py --config label.yaml --config {file}
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Calibration:
    """What a calibration came to.

    Attributes:
        sample: the spans that were drawn.
        measured: on one node.
        sizing: for the cluster asked for.
        result_file, settings_file: where it was written.
    """

    sample: Sample
    measured: Measurements
    sizing: Sizing
    result_file: str
    settings_file: str


def calibrate(config: CalibrateConfig) -> Calibration:
    """Draw spans, measure every stage on a node of the Ray cluster, size the pools, and write both down.

    Raises:
        UserError: an option, a weight, the input or the output; no span is of use; no node comes; or the teachers were
            measured on another device than the cluster asked for has. The message says what to do.
    """
    output = absolute(config.output)
    check_writable(output)
    check_readable(config.input)
    check_detector(config.media.faces.detector)
    if not config.speech_teachers:
        raise UserError("No speech teacher: give --speech_teachers at least one folder, s3:// or hf:// address.")
    sample = draw_sample(config)
    start_ray()
    measured = _measure(config, sample, _wants_gpu(config))
    sizing = size_pools(measured, _cluster(config, measured.node), config)
    settings_file, result_file = join(output, SETTINGS_FILE), join(output, RESULT_FILE)
    values = settings(measured, sizing)
    header = _HEADER.format(cluster=sizing.cluster, file=settings_file)
    write_bytes(settings_file, header.encode() + yaml.safe_dump(values, sort_keys=False).encode())
    write_bytes(result_file, json.dumps(_record(config, sample, measured, sizing), indent=2).encode() + b"\n")
    return Calibration(sample, measured, sizing, result_file, settings_file)


def _wants_gpu(config: CalibrateConfig) -> bool:
    """Whether the teachers are to be measured on a GPU: one that the cluster has, or that is asked for."""
    _, gpus = cluster_size()
    wanted = config.gpus > 0 if config.cpus else gpus > 0 or config.video_pool.num_gpus > 0
    if wanted and not gpus and started_here():
        raise UserError(
            "The settings ask for a GPU (--gpus or --video_pool.num_gpus), and this machine has none. What it measures "
            "says nothing about one: start the job on a machine or a cluster with a GPU."
        )
    return wanted


def _cluster(config: CalibrateConfig, node: NodeFacts) -> Cluster:
    """The cluster asked for, so many nodes like the measured one, or what Ray has now."""
    if config.cpus:
        return Cluster.of(config.cpus, config.gpus, max(1, config.nodes))
    if config.nodes:
        return Cluster.of(config.nodes * node.cores, config.nodes * node.gpus, config.nodes)
    cpus, gpus = cluster_size()
    nodes = len(_working_nodes())
    cluster = Cluster.of(cpus, int(gpus), nodes)
    # A cluster of our own has CPUs in Ray's books for its steps that the machine has not.
    return Cluster(cluster.cpus, cluster.gpus, nodes, 0.0) if started_here() else cluster


def _working_nodes() -> list[dict[str, Any]]:
    """Nodes that Ray runs something on, as it lists them."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def _start_meter(config: CalibrateConfig, sample: Sample, on_gpu: bool) -> ActorHandle:
    """A `NodeMeter` on the largest node with a GPU, or without one; where none is there, on the first that comes."""

    def worth(node: dict[str, Any]) -> tuple[float, float, str]:
        gpus = node["Resources"].get("GPU", 0)
        return gpus if on_gpu else -gpus, node["Resources"]["CPU"], node["NodeID"]

    options: dict[str, Any] = {"num_cpus": 1, "num_gpus": int(on_gpu)}
    there = [node for node in _working_nodes() if node["Resources"].get("GPU", 0) >= int(on_gpu)]
    if there:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(max(there, key=worth)["NodeID"], soft=False)
    else:
        log.info("No such node is there yet: waiting for one with a %s", "GPU" if on_gpu else "CPU")
    return cast("ActorHandle", ray.remote(NodeMeter).options(**options).remote(config, sample, on_gpu))


class _Steps:
    """What is measured, one after the other, with the time that each may take; for `LiveDisplay`."""

    def __init__(self, limits_s: dict[str, float]):
        self._limits_s = limits_s
        self._done_s = 0.0
        self._step = next(iter(limits_s))
        self._since = time.monotonic()

    @property
    def total_s(self) -> int:
        return round(sum(self._limits_s.values()))

    def run(self, step: str, work: Callable[[], T]) -> T:
        self._step, self._since = step, time.monotonic()
        result = work()
        self._done_s += self._limits_s[step]
        return result

    def look(self, _: float) -> tuple[int, str]:
        within_s = min(self._limits_s[self._step], time.monotonic() - self._since)
        return min(self.total_s, round(self._done_s + within_s)), self._step


def _measure(config: CalibrateConfig, sample: Sample, on_gpu: bool) -> Measurements:
    """All stages on one node, each while nothing else of ours runs there."""
    meter = _start_meter(config, sample, on_gpu)
    try:
        try:
            resources = _told(meter.__ray_call__.remote(_resources_here), _NODE_WAIT_S)
        except GetTimeoutError as error:
            raise UserError(
                f"In {_NODE_WAIT_S // 60} minutes no node of the cluster had a {'GPU' if on_gpu else 'CPU'} to measure "
                "with: it is busy with something else, or can't grow. `ray status` says what is waited for."
            ) from error
        alone, together, video, speech = "one decoder", "a decoder on each core", "video teacher", "speech teachers"
        limits_s = dict.fromkeys([alone, together, video, speech], config.measure_s)
        steps = _Steps({_LOADING: _LOADING_S, **limits_s})
        with LiveDisplay("s", steps.total_s, steps.look):
            steps.run(_LOADING, lambda: _told(meter.load_teachers.remote()))
            node: NodeFacts = _told(meter.look_around.remote(*resources))
            busy_cores: float = steps.run(alone, lambda: _told(meter.media_alone.remote()))
            media: MediaSpeed = steps.run(together, lambda: _told(meter.media_together.remote(node.cores)))
            watching: TeacherSpeed = steps.run(video, lambda: _told(meter.video_teacher.remote()))
            listening, windows_per_s, n_teachers = steps.run(speech, lambda: _told(meter.speech_teachers.remote()))
    finally:
        ray.kill(meter)
    figures = media.span_s * (TABLE_BYTES_PER_S + SPEECH_TEACHER_BYTES_PER_S * n_teachers)
    row_bytes = media.sound_bytes + round(figures)
    return Measurements(node, media, watching, listening, windows_per_s * media.span_s, row_bytes, busy_cores)


def _resources_here(_: NodeMeter) -> tuple[float, float]:
    """CPUs and GPUs that Ray counts with on the node where this runs."""
    here = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    return resources.get("CPU", 0.0), resources.get("GPU", 0.0)


def _told(answer: Any, timeout_s: float | None = None) -> Any:  # noqa: ANN401 (of any method)
    """An actor's answer."""
    with users_errors():
        return ray.get(answer, timeout=timeout_s)


def _record(config: CalibrateConfig, sample: Sample, measured: Measurements, sizing: Sizing) -> dict[str, Any]:
    """The content of ``calibrate.json``."""
    return {
        "input": absolute(config.input),
        "drawn": {"spans": len(sample.spans), "recordings": sample.recordings, "unusable": sample.unusable},
        "measured": asdict(measured),
        "seconds_per_second_of_video": asdict(measured.costs),
        "sizing": {
            **asdict(sizing),
            "video_s_per_s": sizing.video_s_per_s,
            "bottleneck": sizing.bottleneck,
            "video_hours_per_day": sizing.hours_per_day,
            "cost_per_1000_video_hours": sizing.cost_per_1000_hours(config.prices),
            "currency": config.prices.currency,
        },
    }
