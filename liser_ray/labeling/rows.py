"""Rows of spans on their way through the pipeline: which are still open, how they end.

A row whose ``status`` is empty is open. One that has a status (from the plan or from an earlier stage) has come to its
end and passes through all later stages as it is.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from liser_ray.labeling.schema import Outcomes, set_columns
from liser_ray.media.outcome import Problem, Status
from liser_ray.runtime.redaction import redact

_DETAIL_CHARS = 500


def open_rows(spans: pa.Table) -> list[int]:
    """Indices of the rows that have not come to an end yet."""
    return [row for row, status in enumerate(spans["status"].to_pylist()) if not status]


def outcome(problem: Problem) -> dict[str, str]:
    """A problem as the columns that tell of it; the detail on one line, no longer than a paragraph, without secrets."""
    detail = redact(" ".join(problem.detail.split()))[:_DETAIL_CHARS]
    return {"status": problem.status, "stage": problem.stage, "reason": problem.reason, "detail": detail}


def with_problems(spans: pa.Table, problems: Mapping[int, Problem]) -> pa.Table:
    """The table with those rows ended by those problems."""
    if not problems:
        return spans
    columns = {name: spans[name].to_pylist() for name in ("status", "stage", "reason", "detail")}
    for row, problem in problems.items():
        for name, text in outcome(problem).items():
            columns[name][row] = text
    return set_columns(spans, {name: pa.array(values, pa.string()) for name, values in columns.items()})


def finish(spans: pa.Table, count: Callable[[Outcomes, float], None]) -> pa.Table:
    """Mark what came through as labeled, empty what did not; ``count`` gets rows by outcome and their video in s."""
    status = [one or Status.LABELED for one in spans["status"].to_pylist()]
    audio = [
        sound if end == Status.LABELED else b"" for end, sound in zip(status, spans["audio"].to_pylist(), strict=True)
    ]
    spans = set_columns(
        spans, {"status": pa.array(status, pa.string()), "audio": pa.array(audio, pa.binary())}
    ).combine_chunks()
    seconds = np.asarray(spans["end_s"]) - np.asarray(spans["start_s"])
    count(dict(Counter(zip(status, spans["reason"].to_pylist(), strict=True))), float(seconds.sum()))
    return spans
