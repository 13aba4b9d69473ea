"""The plan table: one row a span, before any decoding."""

import pyarrow as pa

from liser_ray.runtime.errors import UserError

SPAN_FIELDS = [
    pa.field("span_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("recording_id", pa.string(), nullable=False),
    pa.field("start_s", pa.float64(), nullable=False),
    pa.field("end_s", pa.float64(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("stage", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
]
"""Columns that the plan and the labels table share: which span, and what became of it."""

LABEL_COLUMNS = (
    *("audio", "speech_fraction", "video_start_s", "speech_start_s", "video_probs", "video_valid", "speech_probs"),
    *("face_box", "other_faces", "content_hash"),
    "clips",  # on the way only
)
"""Columns that labeling adds: a manifest's may have none of these names, and hears of it before any work."""


def plan_schema(extra: pa.Schema | None = None) -> pa.Schema:
    """Schema of ``plan/*.parquet``: one row a span, what the headers say of its recording, and the carried columns.

    ``frame_rate_hz`` is the header's average rate, ``width`` and ``height`` the coded frame's, 0 where unknown.

    Raises:
        UserError: if a carried column has the name of one of ours.
    """
    facts = [
        pa.field("recording_s", pa.float64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("frame_rate_hz", pa.float32(), nullable=False),
    ]
    return with_carried([*SPAN_FIELDS, *facts], extra)


def with_carried(fields: list[pa.Field], extra: pa.Schema | None) -> pa.Schema:
    """Our columns, then the manifest's; a `UserError` if one of those has the name of one of ours."""
    ours = {*(field.name for field in fields), *LABEL_COLUMNS}
    for field in extra or ():
        if field.name in ours:
            raise UserError(f"The manifest's column {field.name!r} has the name of a column of the table. Rename it.")
    return pa.schema([*fields, *(extra or ())])
