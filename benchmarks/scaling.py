"""What 100,000 and 10 million hours of video ask for, computed from measured figures.

`python benchmarks/scaling.py` reads the committed results beside it, counts the teachers' FLOPs, and writes the table
into docs/scaling.md between its markers. With prices (``--gpu_hour``, ``--core_hour``, ``--million_gets``,
``--million_puts``, ``--tb_month``; any currency) it prints the costs as well.
"""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import RESULTS, shown
from teacher_speed import flops_of, video_flops
from transformers import HubertConfig, HubertForSequenceClassification

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.spans import FRAME_RATE_HZ, WINDOW_FRAMES, expected_output_bytes
from liser_ray.media.yuv import CROP_PX, PACKED_ROWS
from liser_ray.results.tables import write_between_markers
from liser_ray.teachers.s2d import S2DConfig

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
HOURS = (100_000, 10_000_000)

# Assumed: what a corpus and a machine are like.
RECORDING_S = 360.0
SPAN_S = 16.0
SPEECH_WINDOW_S = 0.5
RECORDING_BYTES_PER_S = 5e6 / 8  # 5 Mbit/s, a sharp 1080p video of a speaker
GPU_FLOPS = 989e12  # bfloat16 without sparsity, by the data sheet of an H100 SXM
UTILISATION = 0.4  # of that; not measured
ROWS_PER_FILE = 768
SPANS_PER_PART = PlanConfig().spans_per_part
LISTED_AT_A_TIME = 1000
LISTINGS = 8  # of label files and checkpoint, in a job that is never interrupted: when rows are reconciled and counted

KINDS = ("LIST", "HEAD", "GET", "PUT", "COPY", "DELETE")
PRICES = ("gpu_hour", "core_hour", "million_gets", "million_puts", "tb_month")
TB, GB, MB = 1e12, 1e9, 1e6


@dataclass(frozen=True)
class Measured:
    """Figures of the committed results and of the teachers' FLOP counters.

    Attributes:
        spans_per_recording: of 2 to 10 minutes.
        plan_bytes, checkpoint_bytes: on disk, per span.
        filter_bytes: in memory, per span in the checkpoint, in each actor of Ray's filter.
        last_count_bytes: in the driver's memory, per span.
        headers_per_s: of local files, on one core.
        media_s_per_cpu_s: seconds of video that a core prepares in a second.
        requests: step to kind (LIST, HEAD ...) to requests for each recording, span or file.
        read_per_span: bytes that a span's decoding reads, of its part of the file (1: each byte once).
        video_flops, speech_flops: of a window of 16 frames and of one of 0.5 s.
    """

    spans_per_recording: float
    plan_bytes: float
    checkpoint_bytes: float
    filter_bytes: float
    last_count_bytes: float
    headers_per_s: float
    media_s_per_cpu_s: float
    requests: dict[str, dict[str, float]]
    read_per_span: float
    video_flops: float
    speech_flops: float


def read_measured() -> Measured:
    """Take the figures from the results and count the FLOPs."""
    driver = (RESULTS / "million_recordings.md").read_text()
    s3 = (RESULTS / "s3_requests.md").read_text()
    corpus = list(read_table(driver, "recordings").values())[-1]
    steps = read_table(driver, "step")
    cores = found(driver, r"on\s+(\d+) cores, [\d,]+ per second")
    requests = {name: {kind: number(row[kind]) for kind in KINDS} for name, row in read_table(s3, "step").items()}
    decoding = read_table(s3, "step")["decoding"]
    spans, recordings = number(corpus["spans"]), number(corpus["recordings"])
    last_count_mb = number(steps["last count"][corpus["recordings"]].split("/")[2])
    hubert = HubertForSequenceClassification(HubertConfig()).eval()
    return Measured(
        spans_per_recording=spans / recordings,
        plan_bytes=MB * number(corpus["plan, MB"]) / spans,
        checkpoint_bytes=MB * number(corpus["checkpoint, MB"]) / spans,
        filter_bytes=found(driver, r"holds: (\d+) bytes per id"),
        last_count_bytes=MB * last_count_mb / spans,
        headers_per_s=found(driver, r"cores, ([\d,]+) per second") / cores,
        media_s_per_cpu_s=number(
            read_table((RESULTS / "label_stages.md").read_text(), "stage")["media stage as a whole"][
                "ours: s of video per CPU-s"
            ]
        ),
        requests=requests,
        read_per_span=number(decoding["received, MB"]) / found(s3, r"a span\s+is ([\d.]+) MB"),
        video_flops=video_flops(S2DConfig()),
        speech_flops=flops_of(lambda: hubert(torch.zeros(1, round(SPEECH_WINDOW_S * 16_000)))),
    )


def read_table(text: str, first: str) -> dict[str, dict[str, str]]:
    """The Markdown table whose first column is headed so: first cell to column name to cell."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    head = _cells(lines[start])
    rows: dict[str, dict[str, str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = _cells(line)
        rows[cells[0]] = dict(zip(head, cells, strict=True))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]


def number(text: str) -> float:
    """A figure with commas."""
    return float(text.replace(",", ""))


def found(text: str, pattern: str) -> float:
    """The figure in the group of a pattern."""
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"no {pattern!r} in the results: they were made by another version of their script")
    return number(match[1])


@dataclass(frozen=True)
class Demand:
    """What so many hours of video ask for, in the units of the names."""

    recordings: float
    spans: float
    header_core_hours: float
    media_core_hours: float
    teacher_exaflop: float
    gpu_hours: float
    in_tb: float
    labels_tb: float
    gets: float
    puts: float


def demand(hours: float, of: Measured) -> Demand:
    """The sums for so many hours of video."""
    seconds = 3600 * hours
    recordings = seconds / RECORDING_S
    spans = recordings * of.spans_per_recording
    files = spans / ROWS_PER_FILE
    flops = seconds * (of.video_flops * FRAME_RATE_HZ / WINDOW_FRAMES + of.speech_flops / SPEECH_WINDOW_S)
    total = dict.fromkeys(KINDS, 0.0)
    total["LIST"] = (recordings + LISTINGS * files) / LISTED_AT_A_TIME
    # The last count goes over the files twice: outcomes and ids, then labels by class.
    steps = {
        "reading headers": recordings,
        "decoding": spans,
        "writing": files,
        "reconciling": files,
        "last count": 2 * files,
    }
    for step, times in steps.items():
        for kind in KINDS:
            if kind != "LIST" or step == "writing":  # the other listings are of all files at once
                total[kind] += of.requests[step][kind] * times
    return Demand(
        recordings=recordings,
        spans=spans,
        header_core_hours=recordings / of.headers_per_s / 3600,
        media_core_hours=hours / of.media_s_per_cpu_s,
        teacher_exaflop=flops / 1e18,
        gpu_hours=flops / (GPU_FLOPS * UTILISATION) / 3600,
        in_tb=seconds * RECORDING_BYTES_PER_S * of.read_per_span / TB,
        labels_tb=expected_output_bytes(seconds, teachers=2) / TB,
        gets=total["GET"] + total["HEAD"],
        puts=total["PUT"] + total["COPY"] + total["LIST"],
    )


def rows_of(hours: float, of: Measured) -> dict[str, str]:
    """The column of the table for so many hours of video."""
    need = demand(hours, of)
    in_part = min(need.spans, SPANS_PER_PART)
    video_s_per_gpu_s = hours / need.gpu_hours
    clip_bytes_per_s = FRAME_RATE_HZ * PACKED_ROWS * CROP_PX

    def gbit(bytes_per_video_s: float) -> str:
        return shown(8 * bytes_per_video_s * video_s_per_gpu_s / 1e9)

    return {
        "recordings of 6 minutes (assumed)": shown(need.recordings),
        "spans of 16 s": shown(need.spans),
        f"parts of at most {SPANS_PER_PART / 1e6:.0f} M spans": shown(math.ceil(need.spans / SPANS_PER_PART)),
        "**CPU**: reading headers, core-hours (local files)": shown(need.header_core_hours),
        "media stage, core-hours": shown(need.media_core_hours),
        "**GPU**: teachers, EFLOP": shown(need.teacher_exaflop),
        f"GPU-hours at {UTILISATION:.0%} of {GPU_FLOPS / 1e12:.0f} TFLOP/s (assumed)": shown(need.gpu_hours),
        "seconds of video per second of such a GPU": shown(video_s_per_gpu_s),
        "cores of media stage to feed it": shown(need.media_core_hours / need.gpu_hours),
        "**Network** for each such GPU, Gbit/s: video in": gbit(RECORDING_BYTES_PER_S * of.read_per_span),
        "face clips, where media workers are on other nodes": gbit(clip_bytes_per_s),
        "labels out": gbit(need.labels_tb * TB / (3600 * hours)),
        "**S3**: GET and HEAD, millions": shown(need.gets / 1e6),
        "PUT, COPY and LIST, millions": shown(need.puts / 1e6),
        "read from the store, TB (5 Mbit/s assumed)": shown(need.in_tb),
        "**Storage**: labels with sound, TB": shown(need.labels_tb),
        "label files": shown(need.spans / ROWS_PER_FILE),
        "plan, GB": shown(need.spans * of.plan_bytes / GB),
        "checkpoint, GB": shown(need.spans * of.checkpoint_bytes / GB),
        "**Memory** for a part: last count in the driver, GB": shown(in_part * of.last_count_bytes / GB),
        "Ray's checkpoint filter, GB in each of its actors": shown(in_part * of.filter_bytes / GB),
    }


def make_table(of: Measured) -> str:
    """The table of docs/scaling.md."""
    columns = [rows_of(hours, of) for hours in HOURS]
    lines = [f"| | {' | '.join(f'{hours:,} h' for hours in HOURS)} |", "|---|--:|--:|"]
    lines += [f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]]
    return "\n".join(lines)


def cost(need: Demand, prices: Mapping[str, float]) -> float:
    """In the prices' currency; the labels are kept for a month, the recordings are there already."""
    return (
        need.gpu_hours * prices["gpu_hour"]
        + (need.header_core_hours + need.media_core_hours) * prices["core_hour"]
        + need.gets / 1e6 * prices["million_gets"]
        + need.puts / 1e6 * prices["million_puts"]
        + need.labels_tb * prices["tb_month"]
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in PRICES:
        parser.add_argument(f"--{name}", type=float, default=0.0, help="its price")
    prices = vars(parser.parse_args(arguments))
    measured = read_measured()
    table = make_table(measured)
    print(table)
    if any(prices.values()):
        for hours in HOURS:
            print(f"{hours:,} h: {cost(demand(hours, measured), prices):,.0f}")
    DOCUMENT.write_text(write_between_markers(DOCUMENT.read_text(), "scaling", table))


if __name__ == "__main__":
    main(sys.argv[1:])
