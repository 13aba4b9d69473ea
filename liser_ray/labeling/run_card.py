"""What a job records: ``run.json`` (what was asked for, with what, what came of it) and how fast each run was."""

import json
import platform
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from liser_ray.corpora.labeled import input_address, input_folder
from liser_ray.corpora.manifest import TEXT
from liser_ray.corpora.plan import PlanSummary
from liser_ray.labeling.config import LabelConfig, Prices
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.schema import SCHEMA_VERSION
from liser_ray.labeling.table_input import carried_targets, find_table, recipe_of
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.detector import check_detector
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.storage.files import check_readable, check_writable, exists, list_files, read_bytes, write_bytes
from liser_ray.storage.run_record import package_versions, plain
from liser_ray.teachers.targets import Target

_PACKAGES = ("ray", "torch", "transformers", "peft", "deepface", "av", "silero-vad", "pyarrow")
_COST_ONLY = ("timeout_s", "memory_mb")  # limits: they decide what fails, not what a label is


def check_settings(config: LabelConfig) -> list[Target]:
    """What the table will hold: what a table that is the input has, and what the teachers give.

    Teachers are loaded once for it, on the CPU.

    Raises:
        UserError: the input, the output, the detector or a weight is missing or wrong, or there is no teacher.
    """
    import torch

    check_writable(config.output)
    check_readable(input_folder(config.input))
    check_readable(config.media_folder)
    if not config.entries:
        raise UserError(
            "No teacher: give --teachers at least one NAME=KIND:ADDRESS, such as speech=speech:out/teachers/fold-*."
        )
    if config.needs.clips:
        check_detector(config.media.faces.detector)
    teachers = [entry.load(torch.device("cpu")) for entry in config.entries]
    if config.transcribe:
        from liser_ray.teachers.recogniser import load_recogniser

        load_recogniser(config.transcribe, torch.device("cpu"))
    table = find_table(config)
    targets = carried_targets(table) if table else []
    targets += [target for teacher in teachers for target in teacher.targets]
    names = Counter(target.name for target in targets)
    if twice := [name for name, n in names.items() if n > 1]:
        raise UserError(f"Two teachers give a target {twice[0]!r}: give them other names in --teachers.")
    return targets


def sources_of_transcripts(config: LabelConfig, carried: pa.Schema) -> dict[str, str]:
    """Where the transcripts come from, for the recipe; none: there are none, and the table has no such column.

    "text" is a list's column, which is then among the ``carried``, "recogniser" the SHA-256 of one, "table" and so on
    those of the table that is the input.

    Raises:
        UserError: there are none, and a teacher takes text.
    """
    table = find_table(config)
    found = dict(recipe_of(table).get("transcripts", {})) if table else {TEXT: "list"} if TEXT in carried.names else {}
    if config.transcribe:
        found["recogniser"] = sha256(fetch(config.transcribe))
    if not found and (name := next((one.name for one in config.entries if one.takes == "text"), "")):
        raise UserError(
            f"The teacher {name} takes text, and nothing says what is said in {config.input}: give a list with a "
            f"column {TEXT}, or a speech recogniser, such as --transcribe hf://openai/whisper-tiny.en."
        )
    return found


def make_recipe(config: LabelConfig, targets: Sequence[Target], transcripts: Mapping[str, str]) -> dict[str, Any]:
    """All that decides which rows there are and what is in them; the machines and limits do not."""
    media = {name: value for name, value in asdict(config.media).items() if name not in _COST_ONLY}
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            "input": input_address(config.input),
            "media_folder": absolute(config.media_folder) if config.media_folder else None,
            "span_seconds": config.plan.span_seconds,
            "max_pixels": config.plan.max_pixels,
            "max_frame_rate_hz": config.plan.max_frame_rate_hz,
            "media": media,
            "needs": asdict(config.needs),
            "required": sorted(config.required),
            "targets": [target.to_json() for target in targets],
            **({"transcripts": transcripts} if transcripts else {}),  # tables from before there were any go on
            "front_end": {
                "sample_rate_hz": SAMPLE_RATE_HZ,
                "frame_rate_hz": FRAME_RATE_HZ,
                "window_frames": 16,
                "short_windows": "of what there is",  # of which speech is a share
                "cells_without_face": "the last with one",
            },
        }
    )


def write_run_card(
    folders: OutputFolders,
    recipe: dict[str, Any],
    plan: PlanSummary,
    config: LabelConfig,
    results: dict[str, Any] | None = None,
) -> None:
    """Write ``run.json``: at the start without results, at the end with them."""
    # Runs may go on in another precision than was begun with.
    before = json.loads(read_bytes(folders.run_card))["precision"].split(", ") if exists(folders.run_card) else []
    card = {
        "recipe": recipe,
        "plan": {"recordings": plan.recordings, "spans": plan.spans, "hours": round(plan.hours, 4)},
        "precision": ", ".join(dict.fromkeys([*before, config.precision])),
        "python": platform.python_version(),
        "packages": package_versions(*_PACKAGES),
        "results": results,
    }
    write_bytes(folders.run_card, json.dumps(card, indent=2).encode() + b"\n")


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
        stages: by stage its pool (``actors``, ``num_cpus``, ``num_gpus``) and its `Work`.
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
    not be known (no GPU, no price) is None. Hours of runs at the same time, on several clusters, add up as well: the
    first rate is then that of one of them.
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
