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
    """Same rows, same outcomes, same bytes into the teachers, and softmaxes that differ by rounding at most."""
    assert left.keys() == right.keys()
    for span, row in left.items():
        other = right[span]
        for column in ("status", "stage", "reason", "content_hash", "audio", "video_valid", "face_box", "end_s"):
            assert row[column] == other[column], (span, column)
        np.testing.assert_allclose(row["video_probs"], other["video_probs"], atol=1e-5)
        assert row["speech_probs"].keys() == other["speech_probs"].keys()
        for teacher, probs in row["speech_probs"].items():
            np.testing.assert_allclose(probs, other["speech_probs"][teacher], atol=1e-5)
