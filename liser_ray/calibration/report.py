"""What a person reads at the end of a calibration."""

from rich.console import Console
from rich.table import Table

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.calibration.job import Calibration
from liser_ray.calibration.measurements import Measurements
from liser_ray.calibration.sample import counted
from liser_ray.calibration.sizing import Sizing
from liser_ray.calibration.teachers import TeacherSpeed
from liser_ray.labeling.config import Prices

_BUSY = 0.1  # share of the cores; what was measured beside more than that is too slow

_STOPPED = {
    "no gain": "more gain less than 5 %",
    "memory": "memory ran out beyond",
    "time": "no time for more: --measure_s",
    "largest": "no larger ones were tried",
}


def print_calibration(result: Calibration, config: CalibrateConfig) -> None:
    """Print how fast the stages are, and what follows for the cluster."""
    console = Console(highlight=False)
    measured, sample = result.measured, result.sample
    console.print(
        f"{len(sample.spans)} spans drawn from {sample.recordings} recordings, {measured.media.spans} of them measured"
        + (f" · of no use: {counted(measured.media.lost)}" if measured.media.lost else "")
        + (f" · recordings with nothing to label: {counted(sample.unusable)}" if sample.unusable else "")
    )
    console.print(_stage_table(measured))
    for line in [*_notes(measured), "", *sizing_lines(result.sizing, config.prices)]:
        console.print(line)
    console.print(f"Measurements: {result.result_file}", soft_wrap=True)
    console.print(
        f"Label with these pools: python jobs/label_corpus.py --config label.yaml --config {result.settings_file}",
        soft_wrap=True,
    )


def _stage_table(measured: Measurements) -> Table:
    node, media, costs = measured.node, measured.media, measured.costs
    cores = f"{node.cores} core{'s' * (node.cores != 1)}"
    device = node.device or cores
    unit = "GPU-s" if costs.on_gpu else "core-s"
    table = Table("stage", "worker", title=f"One node: {cores}{', ' + node.device if node.device else ''}")
    table.title_justify = "left"
    table.add_column("s of video\nper s", justify="right")
    table.add_column("takes for\n1 s of video", justify="right")
    table.add_column("measured")
    table.add_row(
        "media",
        "1 core",
        f"{media.video_s_per_s:.3g}",
        f"{costs.media_s:.3g} core-s",
        f"{media.runs} spans, {media.workers} side by side: {media.span_s_p50:.2g} s each (p50), "
        f"{media.span_s_p95:.2g} s (p95)\n"
        f"alone {media.video_s_per_s_alone:.3g} s per s; side by side {media.slowdown:.2f}x as long · "
        f"at most {_bytes(media.peak_bytes)} of memory",
    )
    for name, speed, cost in (
        ("video teacher", measured.video, costs.video_s),
        ("speech teachers", measured.speech, costs.speech_s),
    ):
        per_s = (1 if costs.on_gpu else node.cores) / cost
        table.add_row(name, device, f"{per_s:.3g}", f"{cost:.3g} {unit}", _batches(speed))
    return table


def _batches(speed: TeacherSpeed) -> str:
    rates = ", ".join(f"{one.batch_size}: {one.windows_per_s:.3g}" for one in speed.by_batch)
    windows = sum(one.windows for one in speed.by_batch)
    return (
        f"batches of {speed.best.batch_size}: {speed.best.windows_per_s:.3g} windows/s ({_STOPPED[speed.stopped]})\n"
        f"{rates} · {windows:,} windows timed"
    )


def _notes(measured: Measurements) -> list[str]:
    node = measured.node
    lines = [
        f"A span that goes on: {_bytes(measured.media.clip_bytes)} of clips from media to video teacher, "
        f"{_bytes(measured.row_bytes)} in the table."
    ]
    if not node.device:
        costs = measured.costs
        media, video, speech = (
            one / (costs.media_s + costs.teachers_s) for one in (costs.media_s, costs.video_s, costs.speech_s)
        )
        lines.append(
            f"Of the cores' time media take {media:.0%}, the video teacher {video:.0%}, "
            f"the speech teachers {speech:.0%}."
        )
    if node.busy_cores > _BUSY * node.cores:
        lines.append(
            f"{node.busy_cores:.1f} cores of the node were busy before the measurement began: an idle one is faster."
        )
    return lines


def sizing_lines(sizing: Sizing, prices: Prices) -> list[str]:
    """What a cluster will do, in words."""
    lines = [f"For {sizing.cluster}:", f"  {sizing.pools}"]
    media, teachers = sizing.media_video_s_per_s, sizing.teachers_video_s_per_s
    if sizing.decoders_per_gpu is not None:
        per_gpu = sizing.pools.media.actors / sizing.cluster.gpus
        lines.append(
            f"  One GPU needs {sizing.decoders_per_gpu:.3g} decoding cores to be kept busy and has {per_gpu:.3g}. "
            + (
                f"The CPUs are the bottleneck: GPUs wait {1 - media / teachers:.0%} of the time."
                if sizing.bottleneck == "CPU"
                else f"The GPUs are the bottleneck: CPUs wait {1 - teachers / media:.0%} of the time."
            )
        )
    else:
        lines.append("  The cores do everything; a GPU would take the teachers off them.")
    rate = sizing.video_s_per_s
    cost = sizing.cost_per_1000_hours(prices)
    lines.append(
        f"  At best {rate:.3g} hours of video per hour, {sizing.hours_per_day:,.3g} a day"
        + (f", {cost:,.4g} {prices.currency} for 1,000 hours." if cost is not None else ".")
    )
    lines.append(f"  Clips on their way take up to {_bytes(sizing.clip_bytes)} of all nodes' object stores together.")
    return lines


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
