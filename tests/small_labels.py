"""Labels tables that no video was needed for: `from small_labels import write_labels`."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liser_ray.labeling.schema import RECIPE_KEY, SCHEMA_VERSION, empty_column, labels_schema, list_column
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.content_hash import digest
from liser_ray.media.flac import encode_flac
from liser_ray.teachers.targets import Target, TunedOn

SPEECH_LABELS = ("neutral", "happy", "sad", "angry")
FACE_LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
FACE_WINDOW_S = 16 / 30
STATUSES = ("labeled", "filtered", "failed")


def speech_target(
    name="fold-0",
    labels=SPEECH_LABELS,
    fold=0,
    heard=("3", "4"),
    labeled="ravdess",
    temperature=1.5,
    teacher="speech",
    labeled_fraction=1.0,
):
    """Of a teacher that finetune_speech_teacher.py has tuned; with fold None of one that says nothing of itself."""
    tuned_on = None if fold is None else TunedOn(labeled, fold, tuple(heard), labeled_fraction)
    return Target(
        name, "distribution", tuple(labels), 0.5, 0.5, "0" * 64, teacher, tuned_on=tuned_on, temperature=temperature
    )


FACE = Target("face", "distribution", FACE_LABELS, FACE_WINDOW_S, FACE_WINDOW_S, "1" * 64, "face")
"""Of clips: a window may show no face, or for a part of it."""

TARGETS = (FACE, speech_target())


def write_labels(
    folder: Path,
    rows=40,
    seed=0,
    files=2,
    rows_per_group=8,
    targets=TARGETS,
    statuses=(0.8, 0.1, 0.1),
    lengths_s=(1.0, 16.0),
    version=SCHEMA_VERSION,
    sounds=(),
    speakers=(),
    speaker_column="speaker",
    draw=lambda rng, n: rng.normal(5, 3, n),
) -> list[dict]:
    """Write a labels table as the labeling job does, with made-up rows that depend on the seed alone.

    Args:
        folder: for the Parquet files.
        rows: of all files together.
        seed: of everything in the rows.
        files, rows_per_group: how they are divided.
        targets: in the order in which their values are drawn. All of a window is speech; what is called face is valid
            for a part of some windows, and in a fifth of the rows for nothing.
        statuses: shares of labeled, filtered and failed rows.
        lengths_s: shortest and longest recording.
        version: of the table, as its recipe has it.
        sounds: address, start in seconds, and int16 [n] of each row in place of drawn ones; then all are labeled.
        speakers: of each row, in a column that a manifest has given; None: of this row it has not.
        speaker_column: what it is called.
        draw: gives so many values of a scalar.

    Returns:
        The labeled rows in the table's order: `pcm` int16 [n], and of each target, by name, `values` [W, K], `valid`
        [W] and, if it has them, `embedding` [W, D].
    """
    rng = np.random.default_rng(seed)
    rows = len(sounds) or rows
    made = [_row(rng, number, targets, statuses, lengths_s, sounds, draw) for number in range(rows)]
    for row, speaker in zip(made, speakers, strict=bool(speakers)):
        row["speaker"] = speaker
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"schema_version": version, "targets": [target.to_json() for target in targets]}
    extra = pa.schema([(speaker_column, pa.array(speakers).type)] if speakers else [])
    schema = labels_schema(targets, extra, {RECIPE_KEY: json.dumps(recipe)})
    for number, part in enumerate(np.array_split(np.arange(rows), files)):
        table = _table([made[i] for i in part], schema)
        pq.write_table(table, folder / f"part-{number:03}.parquet", row_group_size=rows_per_group, compression="zstd")
    return [row for row in made if row["status"] == "labeled"]


def softmaxes(rng: np.random.Generator, n: int, n_labels: int) -> np.ndarray:
    """Random ones, float32 [n, n_labels]."""
    return rng.dirichlet(np.ones(n_labels), n).astype(np.float32)


def _row(rng, number, targets, statuses, lengths_s, sounds, draw) -> dict:
    status = str(rng.choice(STATUSES, p=statuses))
    n_samples = int(rng.uniform(*lengths_s) * SAMPLE_RATE_HZ)
    pcm = (rng.normal(0, 1000, n_samples) * np.sin(np.arange(n_samples) / (1 + number))).astype(np.int16)
    uri, start_s = f"videos/{number}.mp4", 0.0
    if sounds:
        status, (uri, start_s, pcm) = "labeled", sounds[number]
    row = {"number": number, "status": status, "seconds": len(pcm) / SAMPLE_RATE_HZ, "pcm": pcm}
    row |= {"uri": uri, "start_s": start_s}
    row["valid"], row["values"], row["embedding"] = {}, {}, {}
    for target in targets:
        covered_s = row["seconds"] - target.window_s
        n = 1 if not target.window_s else max(0, 1 + int(covered_s / target.hop_s)) if covered_s >= 0 else 0
        valid = np.ones(n, np.float32)
        if target.name == "face":
            valid = rng.choice([0, 0.25, 0.5, 1], n).astype(np.float32) * (rng.random() < 0.8)
        if target.kind == "scalar":
            values = draw(rng, (n, 1)).astype(np.float32)
        else:
            values = softmaxes(rng, n, len(target.labels))
        row["valid"][target.name], row["values"][target.name] = valid, values * (valid > 0)[:, None]
        if target.embedding_size:
            row["embedding"][target.name] = rng.normal(size=(n, target.embedding_size)).astype(np.float16)
    return row


def _table(rows: list[dict], schema: pa.Schema) -> pa.Table:
    """Rows that are not labeled are empty, as the job leaves them."""

    def lists(part, name, kind):
        kept = ((row[part][name], row["status"]) for row in rows)
        return list_column([one if status == "labeled" else one[:0] for one, status in kept], kind)

    def windows(target):
        starts = pa.array([[0.0] * len(row["valid"][target.name]) for row in rows], target.type.field("start_s").type)
        parts = [one for one in target.type if one.name != "start_s"]
        columns = {"start_s": starts} | {one.name: lists(one.name, target.name, one.type) for one in parts}
        return pa.StructArray.from_arrays([columns[one.name] for one in target.type], fields=list(target.type))

    of_targets = list(schema.field("targets").type)
    columns = {
        "span_id": pa.array([f"{row['number']:032x}" for row in rows]),
        "uri": pa.array([row["uri"] for row in rows]),
        "start_s": pa.array([row["start_s"] for row in rows]),
        "end_s": pa.array([row["start_s"] + row["seconds"] for row in rows]),
        "status": pa.array([row["status"] for row in rows]),
        "audio": pa.array(
            [encode_flac(row["pcm"]) if row["status"] == "labeled" else b"" for row in rows], pa.binary()
        ),
        "targets": pa.StructArray.from_arrays([windows(one) for one in of_targets], fields=of_targets),
        "content_hash": pa.array([digest(row["pcm"]) if row["status"] == "labeled" else "" for row in rows]),
    }
    for name in {"speaker", "speaker_id"} & {*schema.names}:
        columns[name] = pa.array([row["speaker"] for row in rows], schema.field(name).type)
    arrays = [columns[one.name] if one.name in columns else empty_column(one.type, len(rows)) for one in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
