import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.labeling.schema import bytes_column, bytes_in_place, empty_column, labels_schema, list_column, rows_of
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.targets import Target

FACE = Target("face", "distribution", ("angry", "happy", "sad"), 16 / 30, 16 / 30, "", "face")
WORDS = Target("words", "distribution", ("a", "b"), 0.0, 0.0, "", "words", embedding_size=5)


def test_the_table_is_the_documented_one_and_every_column_has_an_empty_value():
    schema = labels_schema([FACE, WORDS], metadata={"liser_ray.recipe": "{}"})
    assert schema.names == [
        *("span_id", "uri", "recording_id", "start_s", "end_s", "status", "stage", "reason", "detail"),
        *("audio", "speech_fraction", "face_box", "other_faces", "content_hash", "targets"),
    ]
    face, words = (schema.field("targets").type.field(name).type for name in ("face", "words"))
    assert face.field("values").type == rows_of(3)
    assert [one.name for one in words] == ["start_s", "values", "valid", "embedding"]
    assert words.field("embedding").type == pa.list_(pa.list_(pa.float16(), 5))
    assert not any(field.nullable for field in schema)
    assert schema.metadata == {b"liser_ray.recipe": b"{}"}
    for field in schema:
        column = empty_column(field.type, 2)
        assert (column.type, len(column), column.null_count) == (field.type, 2, 0)


def test_the_documentation_has_these_columns_and_no_others():
    text = (Path(__file__).parents[2] / "docs/table.md").read_text().partition("A target, such")[0]
    documented = [name for names in re.findall(r"^\| (`.*?) \|", text, re.M) for name in names.split("`")[1::2]]
    assert sorted(documented) == sorted(labels_schema([FACE], transcripts=True).names)


def test_columns_of_the_manifest_come_last_and_may_not_take_our_names():
    schema = labels_schema([FACE], pa.schema([("speaker", pa.string()), ("year", pa.int64())]))
    assert schema.names[-2:] == ["speaker", "year"]
    with pytest.raises(UserError, match="'status'"):
        labels_schema([FACE], pa.schema([("status", pa.string())]))


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(1, 4))
def test_softmaxes_come_back_as_they_went_in(lengths, n_labels):
    rng = np.random.default_rng(0)
    rows = [rng.random((length, n_labels), np.float32) for length in lengths]
    column = list_column(rows, rows_of(n_labels))
    assert column.validate(full=True) is None
    assert column.to_pylist() == [row.tolist() for row in rows]


@given(st.binary(max_size=9))
def test_bytes_come_back_as_they_went_in(data):
    column = bytes_column(np.frombuffer(data, np.uint8))
    assert column.validate(full=True) is None
    assert column.to_pylist() == [data]


@given(chunks=st.lists(st.lists(st.binary(max_size=5), max_size=4), min_size=1, max_size=4), first=st.integers(0, 9))
def test_bytes_are_read_where_they_are(chunks, first):
    column = pa.chunked_array([pa.array(chunk, pa.large_binary()) for chunk in chunks])[first:]
    rows = [bytes_in_place(column, row) for row in range(len(column))]
    assert [row.tobytes() for row in rows] == column.to_pylist()
    held = [buffer for chunk in column.chunks for buffer in chunk.buffers()[2:] if buffer]
    places = [(buffer.address, buffer.address + buffer.size) for buffer in held]
    assert all(any(low <= row.ctypes.data < high for low, high in places) for row in rows if len(row))
