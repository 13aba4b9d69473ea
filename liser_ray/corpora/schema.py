"""The plan table: one row a span, before any decoding."""

from collections.abc import Collection

import pyarrow as pa

from liser_ray.runtime.errors import UserError

SPAN_FIELDS = [
    pa.field(name, pa.float64() if name in {"start_s", "end_s"} else pa.string(), nullable=False)
    for name in ("span_id", "uri", "recording_id", "start_s", "end_s", "status", "stage", "reason", "detail")
]
"""Columns that the plan and the labels table share: which span, and what became of it."""

_FACTS = [
    pa.field("recording_s", pa.float64(), nullable=False),
    pa.field("size_bytes", pa.int64(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("frame_rate_hz", pa.float32(), nullable=False),
]


def plan_schema(extra: pa.Schema | None = None, taken: Collection[str] = ()) -> pa.Schema:
    """Schema of ``plan/*.parquet``: one row a span, what the headers say of its recording, and the carried columns.

    ``frame_rate_hz`` is the header's average rate, ``width`` and ``height`` the coded frame's, 0 where unknown. For the
    arguments see `with_carried`.
    """
    return with_carried([*SPAN_FIELDS, *_FACTS], extra, taken)


def with_carried(fields: list[pa.Field], extra: pa.Schema | None, taken: Collection[str] = ()) -> pa.Schema:
    """Our columns, then the manifest's; a `UserError` if one of those has the name of one of ours, or a taken one."""
    ours = {*(field.name for field in fields), *taken}
    for field in extra or ():
        if field.name in ours:
            raise UserError(f"The manifest's column {field.name!r} has the name of a column of the table. Rename it.")
    return pa.schema([*fields, *(extra or ())])
