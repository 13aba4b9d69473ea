"""The labels table: its pinned Arrow schema, and columns that fit it."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from liser_ray.corpora.schema import SPAN_FIELDS, with_carried
from liser_ray.media.outcome import Problem
from liser_ray.runtime.errors import UserError
from liser_ray.runtime.redaction import redact
from liser_ray.teachers.targets import Target

SCHEMA_VERSION = 2
"""To be raised with every change of the columns: a job does not go on with a table of another version."""

RECIPE_KEY = "liser_ray.recipe"
"""Of a file's metadata: the recipe, as JSON. Part of the format: tables that are there have it."""

Outcomes = dict[tuple[str, str], int]
"""(status, reason) to rows."""

_PER_WINDOW = pa.list_(pa.float32())

CLIPS = pa.field("clips", pa.large_binary(), nullable=False)
"""Packed face clips, uint8 [W, 16, 337, 224] (`liser_ray.media.yuv`)."""
CLIP_START_S = pa.field("clip_start_s", _PER_WINDOW, nullable=False)
CLIP_VALID = pa.field("clip_valid", _PER_WINDOW, nullable=False)
"""Of each clip, see `liser_ray.media.faces.SpanFaces`."""
SPEECH = pa.field("speech", pa.list_(pa.int32()), nullable=False)
"""Where stretches of speech begin and end, in samples."""
ON_THE_WAY = (CLIPS, CLIP_START_S, CLIP_VALID, SPEECH)
"""Columns between the media stage and the teachers; never written."""

TRANSCRIPT = pa.field("transcript", pa.string(), nullable=False)
"""What is said in the span; "" where that is not known. Of jobs in which somebody tells it."""

_DETAIL_CHARS = 500


def bytes_in_place(column: pa.ChunkedArray, row: int) -> np.ndarray:
    """A row's bytes in a column of large_binary where they are: uint8, read-only. ``column[row]`` would copy them."""
    (array,) = column.slice(row, 1).chunks
    _, ends, data = array.buffers()
    start, end = np.frombuffer(ends, np.int64)[array.offset : array.offset + 2]
    return np.frombuffer(data, np.uint8, int(end - start), int(start)) if end > start else np.empty(0, np.uint8)


def rows_of(n_values: int) -> pa.DataType:
    """Type of one row of numbers per window: ``list<fixed_size_list<float32>[n_values]>``."""
    return pa.list_(pa.list_(pa.float32(), n_values))


def target_type(target: Target) -> pa.DataType:
    """Type of a target: of W windows where they start, float32 [W]; values [W, K]; valid [W]; embeddings [W, D].

    ``start_s`` is in seconds from the span's start. ``valid`` is the share of the window, 0..1, that shows the face (a
    teacher of clips) or is speech (one of sound), and 1 where there is text (one of text); where it is 0 a teacher of
    clips or text has nothing to say and values are zeros.
    """
    fields = [("start_s", _PER_WINDOW), ("values", rows_of(len(target.labels))), ("valid", _PER_WINDOW)]
    if target.embedding_size:
        fields.append(("embedding", pa.list_(pa.list_(pa.float16(), target.embedding_size))))
    return pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields])


def labels_schema(
    targets: Sequence[Target],
    extra: pa.Schema | None = None,
    metadata: Mapping[str, str] | None = None,
    transcripts: bool = False,
) -> pa.Schema:
    """Schema of the table's files, pinned for a run by the targets, in order, and the manifest's ``extra`` columns.

    ``metadata`` is what every file says of itself.

    Raises:
        UserError: if a carried column has the name of one of ours.
    """
    fields = [
        *SPAN_FIELDS,
        pa.field("audio", pa.binary(), nullable=False),
        pa.field("speech_fraction", pa.float32(), nullable=False),
        pa.field("face_box", rows_of(4), nullable=False),
        pa.field("other_faces", pa.float32(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        *([TRANSCRIPT] if transcripts else []),
        pa.field(
            "targets", pa.struct([pa.field(one.name, target_type(one), nullable=False) for one in targets]), False
        ),
    ]
    return with_carried(fields, extra).with_metadata(dict(metadata or {}))


def read_recipe(text: bytes, where: str) -> dict[str, Any]:
    """The recipe, as a file's metadata has it; ``where`` names the table in errors.

    Raises:
        UserError: there is none, or the table is of another version.
    """
    recipe = json.loads(text or b"{}")
    if recipe.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{where} is no labels table of version {SCHEMA_VERSION}, but of {recipe.get('schema_version', 'none')}: "
            "label its recordings again with this version of liser_ray."
        )
    return dict(recipe)


ADDED_COLUMNS = (*labels_schema((), transcripts=True).names[len(SPAN_FIELDS) :], *(one.name for one in ON_THE_WAY))
"""Columns that labeling adds: a manifest's may have none of these names, and hears of it before any work."""


def empty_column(kind: pa.DataType, n_rows: int) -> pa.Array:
    """A column of "nothing here": "" for text and bytes, 0 for numbers, empty lists."""
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays([empty_column(one.type, n_rows) for one in kind], fields=list(kind))
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    nothing: Any = [] if pa.types.is_list(kind) else "" if pa.types.is_string(kind) else b"" if is_bytes else 0
    return pa.array([nothing] * n_rows, kind)


def list_column(rows: Sequence[np.ndarray], kind: pa.DataType) -> pa.Array:
    """A column of lists of numbers, or of lists of a fixed size of them, from one array [W] or [W, K] per row.

    W differs from row to row, and any array without elements is an empty list.
    """
    width, number = 1, kind.value_type
    if pa.types.is_fixed_size_list(number):
        width, number = number.list_size, number.value_type
    dtype = number.to_pandas_dtype()
    flat = [np.asarray(row, dtype).ravel() for row in rows]
    values = pa.array(np.concatenate(flat) if flat else np.empty(0, dtype), number)
    if pa.types.is_fixed_size_list(kind.value_type):
        values = pa.FixedSizeListArray.from_arrays(values, type=kind.value_type)
    offsets = np.cumsum([0, *(len(row) // width for row in flat)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)


def flat_windows(column: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """All windows of a `rows_of` column, float32 [W, K], and how many of them each row has, int64 [N]."""
    width = column.type.value_type.list_size
    values = column.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return values, column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)


def bytes_column(row: np.ndarray) -> pa.Array:
    """A ``large_binary`` column of one row: an array's bytes, which are not copied."""
    data = np.ascontiguousarray(row)
    offsets = pa.py_buffer(np.array([0, data.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])


def set_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The table with columns of the same names and types replaced."""
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), values)
    return table


def ended(
    spans: pa.Table, problems: Mapping[int, Problem], notes: Mapping[int, Sequence[str]] = MappingProxyType({})
) -> pa.Table:
    """The spans with what has ended some of them, and with what else is to be told of some as their detail, by row."""
    texts = {name: spans[name].to_pylist() for name in ("status", "stage", "reason", "detail")}
    for row, said in notes.items():
        texts["detail"][row] = one_line("; ".join(filter(None, [texts["detail"][row], *said])))
    for row, problem in problems.items():
        for name, text in ending(problem).items():
            texts[name][row] = text
    return set_columns(spans, {name: pa.array(said, pa.string()) for name, said in texts.items()})


def ending(problem: Problem) -> dict[str, str]:
    """A problem as the columns that tell of it; the detail on one line, no longer than a paragraph, without secrets.

    A row whose ``status`` is empty is open. One that has a status passes through all later stages as it is.
    """
    detail = one_line(problem.detail)
    return {"status": problem.status, "stage": problem.stage, "reason": problem.reason, "detail": detail}


def one_line(words: str) -> str:
    """As a detail has them."""
    return redact(" ".join(words.split()))[:_DETAIL_CHARS]
