"""How fast the job is on a sample of its input, and what a cluster will do in a day: ``label_corpus.py --measure``.

The real pipeline runs for a while on spans drawn evenly from the input, and its rows are thrown away. What a stage
costs is what its workers reported, with all that the stages do to one another.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import pyarrow as pa
import yaml
from rich.table import Table

from liser_ray.corpora.plan_table import as_table, plan_rows
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.recordings import input_roots, list_recordings
from liser_ray.corpora.schema import plan_schema
from liser_ray.labeling.config import LabelConfig, PoolConfig, Pools, Prices, fit_pools
from liser_ray.labeling.monitor import monitored
from liser_ray.labeling.pipeline import label_spans
from liser_ray.labeling.progress import Counts, JobCounts, Work, counted
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.run_card import check_settings, sources_of_transcripts
from liser_ray.labeling.schema import ADDED_COLUMNS, labels_schema
from liser_ray.labeling.teacher_stage import CLIP_SHAPE
from liser_ray.media.outcome import Stage
from liser_ray.runtime.cluster import cluster_size, ray_resources, start_ray
from liser_ray.runtime.display import result_console
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, is_s3, join
from liser_ray.storage.files import delete_folder, filesystem, replace_parquet, write_bytes

LISTED_AT_MOST = 20_000
"""Recordings to draw from: of a longer input the first ones, since listing 10 million takes longer than measuring."""

_FEWEST_SPANS, _SPANS_PER_DECODER = 24, 4
_CLIP_BYTES = math.prod(CLIP_SHAPE)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Cluster:
    """CPUs and GPUs that a job may count on, and the nodes that have them."""

    cpus: float
    gpus: int
    nodes: int

    def __str__(self) -> str:
        gpus = f" and {self.gpus:,} GPU{'s' * (self.gpus != 1)}" if self.gpus else ""
        return f"{self.cpus:,g} CPU{'s' * (self.cpus != 1)}{gpus} on {self.nodes:,} node{'s' * (self.nodes != 1)}"


@dataclass(frozen=True)
class Measurement:
    """What was measured, and what follows for a cluster.

    Attributes:
        recordings: that spans were drawn from.
        spans: that came to their end while it was measured.
        lost: recordings that have nothing to label and spans that are of no use, by reason.
        pools: that ran.
        work: of each stage.
        cost_s: seconds of a stage's worker for a second of the input; spans that come to their end in the media stage
            cost the teachers nothing.
        cluster: that is sized for.
        fitted: pools for it.
        media_speed, teachers_speed: seconds of video per second that its decoders and its teachers can do. Without
            GPUs all stages share the cores: then both are the same.
        clips_pools: teachers' pools that face clips go to.
    """

    recordings: int
    spans: int
    lost: dict[str, int]
    pools: Pools
    work: dict[str, Work]
    cost_s: dict[str, float]
    cluster: Cluster
    fitted: Pools
    media_speed: float
    teachers_speed: float
    clips_pools: tuple[str, ...] = ()

    @property
    def speed(self) -> float:
        """Seconds of video per second, at best: nothing waits for the store, a node or Ray."""
        return min(self.media_speed, self.teachers_speed)

    @property
    def decoders_per_gpu(self) -> float | None:
        """Decoders that keep a GPU busy, on which its teachers take turns; None where no teacher has one."""
        on_gpu_s = _on_gpu_s(self.pools, self.cost_s)
        return self.cost_s[Stage.MEDIA] / on_gpu_s if on_gpu_s else None

    def cost_per_1000_hours(self, prices: Prices) -> float | None:
        """What 1,000 hours of video cost; None without prices. All CPUs and GPUs of the cluster are paid for."""
        per_hour = self.cluster.cpus * prices.cpu_hour + self.cluster.gpus * prices.gpu_hour
        return 1000 * per_hour / self.speed if per_hour else None


def measure_corpus(config: LabelConfig) -> tuple[Measurement, str]:
    """Run the pipeline on a sample, size the pools of the cluster asked for, and write both to ``measure/``.

    Returns:
        What was measured, and the address of the settings that follow.

    Raises:
        UserError: an option, a weight, the input or the output; no span is of use; or the teachers would run on another
            device here than in the cluster asked for. The message says what to do.
    """
    folder = OutputFolders(absolute(config.output)).measure
    targets = check_settings(config)
    start_ray()
    pools = _pools_here(config)
    cluster, fitted = _cluster(config, pools)
    delete_folder(folder)
    plan, n_recordings, unusable = draw_spans(config, max(_FEWEST_SPANS, _SPANS_PER_DECODER * pools.media.actors))
    fs, path = filesystem(join(folder, "plan"))
    if not is_s3(folder):
        fs.create_dir(path, recursive=True)
    replace_parquet(join(path, "plan-00000.parquet"), fs, plan)
    carried = pa.schema([one for one in plan.schema if one.name not in plan_schema().names])
    schema = labels_schema(targets, carried, transcripts=bool(sources_of_transcripts(config, carried)))
    before, after = _run(config, folder, schema, pools, len(plan))
    span_s = float((np.asarray(plan["end_s"]) - np.asarray(plan["start_s"])).mean())
    result = evaluate(before, after, span_s, pools, cluster_size()[0], cluster, fitted)
    lost = dict(unusable + Counter(result.lost))
    result = replace(result, recordings=n_recordings, lost=lost, clips_pools=config.clips_pools)
    delete_folder(folder)
    pools_file = join(folder, "pools.yaml")
    # How much a worker takes at a time is fitted to the spans of each plan, unless somebody has said it.
    said = {name: config.teacher_pools.get(name, PoolConfig()).batch_spans for name in fitted.teachers}
    teachers = {name: asdict(replace(pool, batch_spans=said[name])) for name, pool in fitted.teachers.items()}
    media = asdict(replace(fitted.media, batch_spans=config.media_pool.batch_spans))
    settings = {"media_pool": media, "teacher_pools": teachers}
    header = f"# Measured for {cluster}. On top of the settings that it was measured with.\n"
    write_bytes(pools_file, header.encode() + yaml.safe_dump(settings, sort_keys=False).encode())
    measured = asdict(result) | {
        "decoders_per_gpu": result.decoders_per_gpu,
        "video_hours_per_day": 24 * result.speed,
        "cost_per_1000_video_hours": result.cost_per_1000_hours(config.prices),
        "currency": config.prices.currency,
    }
    write_bytes(join(folder, "measured.json"), json.dumps(measured, indent=2).encode() + b"\n")
    return result, pools_file


def evaluate(
    before: Counts, after: Counts, span_s: float, pools: Pools, cpus: float, cluster: Cluster, fitted: Pools
) -> Measurement:
    """What follows from the work that stages did between two moments.

    Args:
        before, after: the moments; if a stage did nothing between them, all its work counts, first calls included.
        span_s: mean length of a span in seconds.
        pools, cpus: that ran, and those of the cluster on which they ran.
        cluster, fitted: to size for, and pools for it.

    Raises:
        UserError: no span went on to the teachers.
    """
    work = {stage: after.work.get(stage, Work()) for stage in pools.by_stage}
    lost = {reason: n for (_, reason), n in after.outcomes.items() if reason}
    if not all(one.spans for one in work.values()):
        raise UserError(
            f"None of the {after.spans} spans that were tried is of use to the teachers: {counted(lost)}. "
            "Give an --input with videos of people talking."
        )
    goes_on = 1 - work[Stage.MEDIA].ended / work[Stage.MEDIA].spans
    later = {stage: one - before.work.get(stage, Work()) for stage, one in work.items()}
    if all(one.spans for one in later.values()):
        work = later
    media_s, *teachers_s = (one.busy_s / one.spans / span_s for one in work.values())
    cost_s = dict(zip(work, [media_s, *(goes_on * one for one in teachers_s)], strict=True))
    if on_gpu_s := _on_gpu_s(pools, cost_s):
        on_cpu = {name: pool for name, pool in fitted.teachers.items() if not pool.num_gpus}
        media_speed = fitted.media.actors / media_s
        teachers_speed = min([cluster.gpus / on_gpu_s, *(pool.actors / cost_s[name] for name, pool in on_cpu.items())])
    else:
        slowest = min(pool.actors / cost_s[stage] for stage, pool in pools.by_stage.items())
        media_speed = teachers_speed = slowest * cluster.cpus / cpus
    return Measurement(0, after.spans, lost, pools, work, cost_s, cluster, fitted, media_speed, teachers_speed)


def _on_gpu_s(pools: Pools, cost_s: dict[str, float]) -> float:
    """Seconds of a GPU for a second of the input; 0 without GPUs."""
    return sum(cost_s[name] for name, pool in pools.teachers.items() if pool.num_gpus)


def print_measurement(result: Measurement, pools_file: str, prices: Prices) -> None:
    """Print how fast the stages are, and what follows for the cluster."""
    console = result_console()
    table = Table(title=f"{result.spans} spans of {result.recordings} recordings")
    table.add_column("stage", no_wrap=True)
    table.add_column("workers")
    table.add_column("s of video per s", justify="right")
    table.add_column("a second of video takes", justify="right")
    for stage, pool in result.pools.by_stage.items():
        cost_s, work = result.cost_s[stage], result.work[stage]
        workers = f"{pool.actors} on {'GPU' if pool.num_gpus else 'CPU'}"
        table.add_row(f"{stage}{work.fill}", workers, _figure(pool.actors / cost_s), f"{cost_s:.3g} s of one")
    console.print(table)
    if result.lost:
        console.print(f"Of no use: {counted(result.lost)}", soft_wrap=True)
    cluster, pools, media, teachers = result.cluster, result.fitted, result.media_speed, result.teachers_speed
    lines = [f"For {cluster}:", f"  {pools}"]
    if result.decoders_per_gpu is None:
        more = "no teacher has a use for a GPU" if cluster.gpus else "a GPU would take the teachers off them"
        lines.append(f"  The cores do everything; {more}.")
    else:
        waiting = (
            f"The decoders are the bottleneck: teachers wait {1 - media / teachers:.0%} of the time."
            if media < teachers
            else f"The teachers are the bottleneck: decoders wait {1 - teachers / media:.0%} of the time."
        )
        has = pools.media.actors / cluster.gpus
        lines.append(
            f"  One GPU needs {result.decoders_per_gpu:.3g} decoding cores to be kept busy and has {has:.3g}. {waiting}"
        )
    cost = result.cost_per_1000_hours(prices)
    lines.append(
        f"  At best {_figure(result.speed)} hours of video per hour, {_figure(24 * result.speed)} a day"
        + (f", {cost:,.2f} {prices.currency} for 1,000 hours." if cost is not None else ".")
    )
    for name in result.clips_pools:
        # A decoder has a span in hand; a worker of a teacher has a batch of them, and the next one waits.
        spans = pools.media.actors + 2 * pools.teachers[name].actors * pools.teachers[name].batch_spans
        clips_gb = spans * result.work[name].windows / result.work[name].spans * _CLIP_BYTES / 1e9
        lines.append(f"  {name}: on their way up to {clips_gb:,.3g} GB of all nodes' object stores together.")
    for line in [*lines, "", f"Label with these pools: --config {pools_file}"]:
        console.print(line, soft_wrap=True)


def _pools_here(config: LabelConfig) -> Pools:
    """Pools that fill the cluster as it is; of one without nodes yet, a worker of each teacher and its decoders."""
    if ray_resources()[0]:
        return fit_pools(_with_open_sizes(config), *ray_resources())
    pools = fit_pools(config, 0, 0)
    most = max(pool.actors for pool in pools.teachers.values())
    return Pools(
        replace(pools.media, actors=math.ceil(pools.media.actors / most)),
        {name: replace(pool, actors=1) for name, pool in pools.teachers.items()},
    )


def _with_open_sizes(config: LabelConfig) -> LabelConfig:
    """The settings with as many workers in each pool as fit; on CPUs beside others' GPUs as many as they say."""
    beside = any(config.teacher_pools.get(name, PoolConfig()).num_gpus for name in config.teacher_groups)
    # A teacher on a GPU is fitted to hold no CPU; how many it uses is open again.
    teachers = {
        name: replace(
            pool,
            actors=pool.actors if beside and not pool.num_gpus else 0,
            num_cpus=pool.num_cpus or (-1.0 if pool.num_gpus > 0 else 0.0),
        )
        for name, pool in config.teacher_pools.items()
    }
    return replace(config, media_pool=replace(config.media_pool, actors=0), teacher_pools=teachers)


def _cluster(config: LabelConfig, pools: Pools) -> tuple[Cluster, Pools]:
    """The cluster to size for (the one asked for, so many nodes like those here, or what Ray has) and its pools."""
    asked, (cpus, gpus), nodes = config.measure, cluster_size(), ray_resources()[2]
    cluster = Cluster(cpus, int(gpus), nodes)
    if asked.cpus:
        cluster = Cluster(asked.cpus, asked.gpus, max(1, asked.nodes))
    elif asked.nodes:
        cluster = Cluster(cpus / nodes * asked.nodes, round(gpus / nodes * asked.nodes), asked.nodes)
    if not cluster.cpus:
        raise UserError("The cluster has no nodes yet: say with --measure.cpus, gpus and nodes what it will grow to.")
    fitted = pools
    if asked.cpus or asked.nodes:
        fitted = fit_pools(_with_open_sizes(config), cluster.cpus, cluster.gpus, cluster.nodes)
    on_gpu, would_be = (any(pool.num_gpus for pool in one.teachers.values()) for one in (pools, fitted))
    if would_be != on_gpu or (on_gpu and not cluster.gpus):
        raise UserError(
            f"The teachers would be measured on a {'GPU' if on_gpu else 'CPU'}, which says nothing about "
            f"{cluster}. Measure where the cluster's workers are of the kind that you want to size for."
        )
    return cluster, fitted


def draw_spans(config: LabelConfig, count: int) -> tuple[pa.Table, int, Counter[str]]:
    """Rows of a plan, evenly over the recordings; how many recordings they are from; those of no use by reason."""
    roots = input_roots(config.input, config.media_folder, config.plan.allowed_roots)
    listing = list_recordings(config.input, config.output, roots, config.needs.face, config.media_folder)
    listed = list(islice(listing.recordings, LISTED_AT_MOST))
    schema = plan_schema(listing.extra_schema, ADDED_COLUMNS)
    status, reason = schema.get_field_index("status"), schema.get_field_index("reason")
    by_recording, unusable = [], Counter[str]()
    wanted = config.media.wanted()
    for probed in probe_all(evenly(listed, count), config.plan, roots, config.needs.face, wanted):
        rows = list(plan_rows(probed, config.plan.span_seconds))
        if usable := [row for row in rows if not row[status]]:
            by_recording.append(usable)
        else:
            unusable[str(rows[0][reason])] += 1
    if not by_recording:
        raise UserError(
            f"None of {len(listed)} recordings in {config.input} can be measured: {counted(unusable)}. "
            "--dry_run counts them all; give an --input with videos of people talking."
        )
    of_each = math.ceil(count / len(by_recording))
    drawn = evenly([row for rows in by_recording for row in evenly(rows, of_each)], count)
    return as_table(drawn, schema), len(by_recording), unusable


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """The middles of so many equal parts of a sequence; all items if there are no more."""
    count = min(count, len(items))
    return [items[(2 * part + 1) * len(items) // (2 * count)] for part in range(count)]


def _run(config: LabelConfig, folder: str, schema: pa.Schema, pools: Pools, n_spans: int) -> tuple[Counts, Counts]:
    """What was counted when all stages were at work, and what some time later, or when the sample was through."""
    counts, before, deadline, n_rows = JobCounts(), Counts(), math.inf, 0
    with monitored(counts, pools, join(folder, "runs"), n_spans):
        spans = label_spans(config, OutputFolders(folder), schema, pools, counts)
        for rows in spans.iter_batches(batch_size=None, batch_format="pyarrow"):
            n_rows += len(rows)
            now = counts.read()
            if deadline == math.inf and len(now.work) == len(pools.by_stage):
                before, deadline = now, time.monotonic() + config.measure.seconds
            if time.monotonic() > deadline:
                break
        counts.wait_for_rows(n_rows)
        return before, counts.read()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
