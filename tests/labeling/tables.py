"""Labels tables: spans on their way through the stages, and reading back, as any Parquet reader would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liser_ray.corpora.schema import plan_schema
from liser_ray.labeling.schema import CLIPS, ON_THE_WAY, bytes_column, empty_column, labels_schema, set_columns
from liser_ray.teachers.targets import Target

Row = dict[str, Any]


def planned(*uris: str, status: str = "", reason: str = "", **carried: str) -> pa.Table:
    """A plan of a span of 1.6 s of each recording."""
    outcome = {"status": status, "stage": "plan" if status else "", "reason": reason, "detail": reason}
    rows = [
        {"span_id": uri, "uri": uri, "recording_id": uri, "start_s": 0.0, "end_s": 1.6, **outcome}
        | {"recording_s": 1.6, "size_bytes": 1, "width": 1, "height": 1, "frame_rate_hz": 25.0}
        | carried
        for uri in uris
    ]
    return pa.Table.from_pylist(rows, plan_schema(pa.schema([(name, pa.string()) for name in carried])))


def open_spans(targets: Sequence[Target], rows: Sequence[Row], clips: Sequence[np.ndarray] = ()) -> pa.Table:
    """Spans as the media stage makes them, with nothing in the columns that their rows do not name."""
    schema = pa.schema([*labels_schema(targets, transcripts=True), *ON_THE_WAY])
    nothing = {one.name: empty_column(one.type, 1)[0].as_py() for one in schema}
    table = pa.Table.from_pylist([nothing | row for row in rows], schema)
    return set_columns(table, {CLIPS.name: pa.chunked_array(map(bytes_column, clips))}) if len(clips) else table


def rows_of(labels: Path) -> dict[tuple[str, float], Row]:
    """Rows of all files by file name and start; fails if a span comes twice."""
    rows = [row for path in sorted(labels.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    by_span = {(Path(row["uri"]).name, row["start_s"]): row for row in rows}
    assert len(by_span) == len(rows), "a span has two rows"
    return by_span


def assert_same_labels(left: dict[tuple[str, float], Row], right: dict[tuple[str, float], Row]) -> None:
    """Same rows, same outcomes, same bytes into the teachers, and values that differ by rounding at most."""
    assert left.keys() == right.keys()
    for span, row in left.items():
        other = right[span]
        for column in ("status", "stage", "reason", "content_hash", "audio", "face_box", "end_s"):
            assert row[column] == other[column], (span, column)
        assert row["targets"].keys() == other["targets"].keys()
        for name, target in row["targets"].items():
            assert target["valid"] == other["targets"][name]["valid"], (span, name)
            assert target["start_s"] == other["targets"][name]["start_s"], (span, name)
            np.testing.assert_allclose(target["values"], other["targets"][name]["values"], atol=1e-5)
