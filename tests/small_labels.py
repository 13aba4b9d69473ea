"""Labels tables that no video was needed for: `from small_labels import write_labels`."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liser_ray.corpora.tuning import TeacherTuning
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.run_card import TeacherCard, make_recipe
from liser_ray.labeling.schema import RECIPE_KEY, empty_column, labels_schema, list_column
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.flac import encode_flac
from liser_ray.teachers.video import FERV39K_LABELS

SPEECH_LABELS = ("neutral", "happy", "sad", "angry")
VIDEO_WINDOW_S = 16 / 30
STATUSES = ("labeled", "filtered", "failed")


def speech_teacher(name="fold-0", labels=SPEECH_LABELS, fold=0, heard=("3", "4"), labeled="ravdess", temperature=1.5):
    """The card of a teacher that finetune_speech_teacher.py has tuned; with fold None of one from elsewhere."""
    tuning = None if fold is None else TeacherTuning(labeled, fold, tuple(heard), temperature)
    return TeacherCard(name, tuple(labels), "0" * 64, tuning)


TEACHERS = (speech_teacher(),)


def write_labels(
    folder: Path,
    rows=40,
    seed=0,
    files=2,
    rows_per_group=8,
    teachers=TEACHERS,
    statuses=(0.8, 0.1, 0.1),
    lengths_s=(1.0, 16.0),
) -> list[dict]:
    """Write a labels table as the labeling job does, with made-up rows that depend on the seed alone.

    Args:
        folder: for the Parquet files.
        rows: of all files together.
        seed: of everything in the rows.
        files, rows_per_group: how they are divided.
        teachers: cards of the speech teachers, see `speech_teacher`.
        statuses: shares of labeled, filtered and failed rows.
        lengths_s: shortest and longest recording.

    Returns:
        The labeled rows in the table's order: `pcm` int16 [n], `video_probs` [W, 7], `video_valid` [W], and
        `speech_probs`, by the teacher's name [W, K].
    """
    rng = np.random.default_rng(seed)
    made = [_row(rng, number, teachers, statuses, lengths_s) for number in range(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    video = TeacherCard("s2d", tuple(FERV39K_LABELS), "0" * 64)
    recipe = make_recipe(LabelConfig(input="videos", output="labels"), video, list(teachers))
    schema = labels_schema(
        video.labels,
        {card.name: card.labels for card in teachers},
        metadata={RECIPE_KEY: json.dumps(recipe)},
    )
    for number, part in enumerate(np.array_split(np.arange(rows), files)):
        table = _table([made[i] for i in part], schema)
        pq.write_table(table, folder / f"part-{number:03}.parquet", row_group_size=rows_per_group, compression="zstd")
    return [row for row in made if row["status"] == "labeled"]


def softmaxes(rng: np.random.Generator, n: int, n_labels: int) -> np.ndarray:
    """Random ones, float32 [n, n_labels]."""
    return rng.dirichlet(np.ones(n_labels), n).astype(np.float32)


def _row(rng, number, teachers, statuses, lengths_s) -> dict:
    status = str(rng.choice(STATUSES, p=statuses))
    n_samples = int(rng.uniform(*lengths_s) * SAMPLE_RATE_HZ)
    pcm = (rng.normal(0, 1000, n_samples) * np.sin(np.arange(n_samples) / (1 + number))).astype(np.int16)
    n_video, n_speech = int(n_samples / SAMPLE_RATE_HZ / VIDEO_WINDOW_S), n_samples // (SAMPLE_RATE_HZ // 2)
    valid = rng.choice([0, 0.25, 0.5, 1], n_video).astype(np.float32) * (rng.random() < 0.8)
    video_probs = softmaxes(rng, n_video, len(FERV39K_LABELS)) * (valid > 0)[:, None]
    speech = {card.name: softmaxes(rng, n_speech, len(card.labels)) for card in teachers}
    return {
        "number": number,
        "status": status,
        "seconds": n_samples / SAMPLE_RATE_HZ,
        "pcm": pcm,
        "video_valid": valid,
        "video_probs": video_probs,
        "speech_probs": speech,
    }


def _table(rows: list[dict], schema: pa.Schema) -> pa.Table:
    """Rows that are not labeled are empty, as the job leaves them."""

    def lists(values, kind):
        kept = zip(values, rows, strict=True)
        return list_column([one if row["status"] == "labeled" else one[:0] for one, row in kept], kind)

    speech = schema.field("speech_probs").type
    columns = {
        "span_id": pa.array([f"{row['number']:032x}" for row in rows]),
        "uri": pa.array([f"videos/{row['number']}.mp4" for row in rows]),
        "end_s": pa.array([row["seconds"] for row in rows]),
        "status": pa.array([row["status"] for row in rows]),
        "audio": pa.array(
            [encode_flac(row["pcm"]) if row["status"] == "labeled" else b"" for row in rows], pa.binary()
        ),
        "video_probs": lists([row["video_probs"] for row in rows], schema.field("video_probs").type),
        "video_valid": lists([row["video_valid"] for row in rows], schema.field("video_valid").type),
        "speech_probs": pa.StructArray.from_arrays(
            [lists([row["speech_probs"][one.name] for row in rows], one.type) for one in speech], fields=list(speech)
        ),
        "content_hash": pa.array(
            [hashlib.sha256(row["pcm"]).hexdigest() if row["status"] == "labeled" else "" for row in rows]
        ),
    }
    arrays = [columns[one.name] if one.name in columns else empty_column(one.type, len(rows)) for one in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
