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
    "no gain": "larger ones gain less than 5 %",
    "memory": "for larger ones there is no memory",
    "time": "for larger ones there was no time (--measure_s)",
    "largest": "larger ones were not tried",
}


def print_calibration(result: Calibration, config: CalibrateConfig) -> None:
    """Print how fast the stages are, and what follows for the cluster."""
    console = Console(highlight=False)
    measured, sample = result.measured, result.sample
    drawn = f"{len(sample.spans)} spans drawn from {sample.recordings} recordings"
    if sample.unusable:
        drawn += f" · recordings with nothing to label: {counted(sample.unusable)}"
    console.print(drawn, soft_wrap=True)
    console.print(_stage_table(measured))
    lines = [*detail_lines(measured), "", *sizing_lines(result.sizing, config.prices), ""]
    lines.append(f"Measurements: {result.result_file}")
    lines.append(f"Label with it: python jobs/label_corpus.py --config label.yaml --config {result.settings_file}")
    for line in lines:
        console.print(line, soft_wrap=True)


def _stage_table(measured: Measurements) -> Table:
    node, costs = measured.node, measured.costs
    cores = f"{node.cores} core{'s' * (node.cores != 1)}"
    table = Table("stage", "worker", title=f"One node of {cores}", title_justify="left")
    table.add_column("s of video per s", justify="right")
    table.add_column("a second of video takes", justify="right")
    device, unit = (node.device, "GPU-s") if costs.on_gpu else (cores, "core-s")
    workers = 1 if costs.on_gpu else node.cores
    on_cores = costs.media_s if costs.on_gpu else costs.media_s + costs.teachers_s
    on_device = costs.teachers_s if costs.on_gpu else on_cores

    def takes(seconds: float, unit: str, of_all: float) -> str:
        return f"{seconds:.3g} {unit} {seconds / of_all:>4.0%}"

    table.add_row("media", "1 core", _figure(1 / costs.media_s), takes(costs.media_s, "core-s", on_cores))
    for name, seconds in (("video teacher", costs.video_s), ("speech teachers", costs.speech_s)):
        table.add_row(name, device, _figure(workers / seconds), takes(seconds, unit, on_device))
    return table


def detail_lines(measured: Measurements) -> list[str]:
    """What was measured of each stage, and how much of it."""
    node, media = measured.node, measured.media
    lines = [
        f"media: {media.span_s_p50:.2g} s per span (p50), {media.span_s_p95:.2g} s (p95), at most "
        f"{_bytes(media.peak_bytes)} of memory",
        f"  {media.spans} spans in {media.runs} runs, {media.workers} side by side; one worker by itself does "
        f"{media.video_s_per_s_alone:.3g} s per s, {media.slowdown:.2f} times as much",
        f"  {media.usable_share:.0%} of the time goes on to the teachers"
        + (f"; of no use: {counted(media.lost)}" if media.lost else ""),
        f"video teacher: {_batches(measured.video)}",
        f"speech teachers: {_batches(measured.speech)}",
        f"a span that goes on: {_bytes(media.clip_bytes)} of clips to the video teacher, "
        f"{_bytes(measured.row_bytes)} in the table",
    ]
    if measured.busy_cores > _BUSY * node.cores:
        lines.append(
            f"{measured.busy_cores:.1f} cores were busy with something else: on an idle node all this is faster."
        )
    return lines


def _batches(speed: TeacherSpeed) -> str:
    rates = ", ".join(f"{one.batch_size}: {_figure(one.windows_per_s)}" for one in speed.by_batch)
    windows = sum(one.windows for one in speed.by_batch)
    best = speed.best
    return (
        f"{_figure(best.windows_per_s)} windows/s in batches of {best.batch_size}; {_STOPPED[speed.stopped]}\n"
        f"  windows/s by batch: {rates} · {windows:,} windows timed"
    )


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
        f"  At best {_figure(rate)} hours of video per hour, {_figure(sizing.hours_per_day)} a day"
        + (f", {cost:,.2f} {prices.currency} for 1,000 hours." if cost is not None else ".")
    )
    lines.append(f"  Clips on their way take up to {_bytes(sizing.clip_bytes)} of all nodes' object stores together.")
    return lines


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
