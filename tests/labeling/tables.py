"""Reading labels tables back, as any Parquet reader would."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

Row = dict[str, Any]


def rows_of(labels: Path) -> dict[tuple[str, float], Row]:
    """Rows of all files by file name and start; fails if a span comes twice."""
    rows = [row for path in sorted(labels.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
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
