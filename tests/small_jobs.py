"""The output of a labeling job that never ran: `from small_jobs import row, write_job`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from liser_ray.corpora.plan import PlanSummary
from liser_ray.corpora.schema import SPAN_FIELDS, plan_schema
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.run_card import RunRecord, make_recipe, write_run_card
from liser_ray.labeling.schema import labels_schema
from liser_ray.teachers.targets import Target, TunedOn

FACE_LABELS = ("happy", "sad", "fear")
SPEECH_LABELS = ("fearful", "happy", "calm")
FACE = Target("face", "distribution", FACE_LABELS, 16 / 30, 16 / 30, "1" * 64, "s2d")
SPEECH = Target(
    "speech", "distribution", SPEECH_LABELS, 0.5, 0.5, "2" * 64, "hubert", tuned_on=TunedOn("ravdess", 0, ("1", "2"))
)
TARGETS = (FACE, SPEECH)


def windows(values: Sequence[Sequence[float]], hop_s: float = 0.5, **given) -> dict:
    """A target of a row; a window of zeros is not valid unless ``valid`` is given."""
    valid = [float(any(one)) for one in values]
    starts = [k * hop_s for k in range(len(values))]
    return {"start_s": starts, "values": [list(one) for one in values], "valid": valid} | given


def row(number=0, face=((0.7, 0.2, 0.1),), speech=((0.1, 0.8, 0.1),), **values) -> dict:
    """A labeled row of 16 s, unless ``values`` say otherwise; where ``face`` has zeros there is no face."""
    return {
        "span_id": f"{number:032x}",
        "uri": f"recordings/{number}.mp4",
        "recording_id": f"{number:032x}",
        "start_s": 0.0,
        "end_s": 16.0,
        "status": "labeled",
        "stage": "",
        "reason": "",
        "detail": "",
        "audio": b"",
        "speech_fraction": 0.5,
        "face_box": [[0.4, 0.4, 0.2, 0.25] if any(one) else [0.0] * 4 for one in face],
        "other_faces": 0.0,
        "content_hash": "",
        "targets": {"face": windows(face, 16 / 30), "speech": windows(speech)},
    } | values


def lost_row(number=0, status="failed", stage="media", reason="corrupt", detail="nothing to decode", **values) -> dict:
    """A row that is not labeled."""
    ended = {"status": status, "stage": stage, "reason": reason, "detail": detail}
    return row(number, face=(), speech=(), **ended, **values)


def table_of(rows: list[dict], targets: Sequence[Target] = TARGETS) -> pa.Table:
    """Labels; a row has nothing of a target that it does not name."""
    nothing = {one.name: windows(()) for one in targets}
    known = [{**one, "targets": nothing | one["targets"]} for one in rows]
    return pa.Table.from_pylist(known, schema=labels_schema(targets))


def write_job(
    folder: Path,
    rows: list[dict],
    to_go: int = 0,
    input_uri: str = "recordings",
    files: int = 1,
    part: str = "part-00001",
    targets: Sequence[Target] = TARGETS,
) -> OutputFolders:
    """Plan, table and cards of a job with these rows in one part, and ``to_go`` spans more in the plan."""
    folders = OutputFolders(str(folder))
    config = LabelConfig(input=input_uri, output=str(folder))
    planned = [*rows, *(lost_row(10_000 + k, status="", stage="", reason="", detail="") for k in range(to_go))]
    facts = {"recording_s": 16.0, "size_bytes": 0, "width": 0, "height": 0, "frame_rate_hz": 0.0}
    for name in ("plan", "labels", "checkpoint"):
        (folder / name / part).mkdir(parents=True, exist_ok=True)
    for number in range(files):
        pq.write_table(table_of(rows[number::files], targets), folder / f"labels/{part}/{number}-0.parquet")
    plan_rows = [{**facts, **{field.name: one[field.name] for field in SPAN_FIELDS}} for one in planned]
    pq.write_table(pa.Table.from_pylist(plan_rows, schema=plan_schema()), folder / f"plan/{part}/plan-00000.parquet")
    seconds = sum(one["end_s"] - one["start_s"] for one in planned)
    plan = PlanSummary(
        input_uri, config.plan, len(planned), seconds, len(planned), len(planned), seconds, {}, {}, 2, 0, {}, 1
    )
    plan = replace(plan, spans_by_part={part: len(planned)})
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))
    write_run_card(folders, make_recipe(config, targets, {}), plan, config)
    return folders


def write_run(folder: Path, name="1", started="2026-11-22T10:00:00+00:00", seconds=200.0, finished=True, samples=()):
    """What a run notes about itself."""
    (folder / "runs").mkdir(exist_ok=True)
    stage = {"spans": 10, "busy_s": 100.0, "actors": 2, "num_cpus": 1.0, "num_gpus": 0.0}
    stages = {"media": stage, "clips": stage | {"spans": 0}}
    record = RunRecord(started, seconds, finished, {"CPU": 16, "GPU": 1}, 16 * seconds, seconds, list(samples), stages)
    (folder / f"runs/{name}.json").write_text(json.dumps(asdict(record)))
