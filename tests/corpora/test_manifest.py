"""Lists as spreadsheets, pandas and people write them."""

import codecs
import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.corpora.manifest import Manifest, is_manifest
from liser_ray.corpora.segments import WHOLE, Segment
from liser_ray.runtime.errors import UserError

ROWS = [
    ("a.mp4", "café; naïve"),
    ("b c.mp4", 'she said "no", twice'),
    ("ü.mp4", "two\nlines\r\nand more"),
    ("d.mp4", ""),
]


def written(rows, separator=",", line_end="\r\n"):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=line_end).writerows(rows)
    return text.getvalue()


def rows_of(path, **how):
    return list(Manifest(str(path), **how).rows())


def values_of(path):
    return [(row.uri.rpartition("/")[2], *row.values) for row in rows_of(path)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
def test_a_list_is_read_whatever_its_separator_and_encoding(tmp_path, separator, mark, encoding, suffix):
    path = tmp_path / f"list.{suffix}"
    path.write_bytes(mark + written([("uri", "said"), *ROWS], separator).encode(encoding))
    assert values_of(path) == ROWS
    assert [row.number for row in rows_of(path)] == [1, 2, 3, 4]


LETTERS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)


@given(
    st.lists(st.tuples(LETTERS, LETTERS, st.sampled_from(["", "x\ny", 'a "b"', "a,b;c\td|e"])), min_size=1, max_size=5),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_values_come_back_as_they_were_written(tmp_path_factory, rows, separator, encoding, line_end):
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    table = [
        ("speaker", "uri", "said, or sung"),
        *((one, two.replace("/", "-") + ".mp4", more) for one, two, more in rows),
    ]
    path.write_bytes(written(table, separator, line_end).encode(encoding))
    found = [(row.values[0], row.uri.removeprefix(f"{path.parent}/"), row.values[1]) for row in rows_of(path)]
    assert found == table[1:]


def test_a_million_bytes_with_line_breaks_in_values(tmp_path):
    said = [f"{number}\n" + "word " * (number % 60) + "\nend" for number in range(12_000)]
    path = tmp_path / "long.csv"
    path.write_text(written([("uri", "said"), *((f"{number}.mp4", one) for number, one in enumerate(said))]))
    assert path.stat().st_size > 1 << 20
    assert [row.values[0] for row in rows_of(path)] == said


def test_blanks_around_names_and_values_and_rows_of_nothing_do_not_count(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('\n uri , "speaker",note, \n\na.mp4 , 1, "x, y",\n , ,,\n"b.mp4",2,\u00a0z ,\n\n')
    assert values_of(path) == [("a.mp4", "1", "x, y"), ("b.mp4", "2", "z")]
    assert Manifest(str(path)).schema.names == ["speaker", "note"]


def test_files_are_named_in_a_column_uri_path_or_file(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("file,path,uri\na,b,c\n")
    assert values_of(path) == [("c", "a", "b")]
    assert rows_of(path, address="path", needed=[("file",)], optional=())[0].uri == f"{tmp_path}/c"
    path.write_text("note,file\nx,a\n")
    assert values_of(path) == [("a", "x")]
    assert rows_of(path, folder="/elsewhere")[0].uri == "/elsewhere/a"


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///data/c%20d.mp4", "/data/c d.mp4"),
        ("file://localhost/data/%C3%BC.mp4", "/data/ü.mp4"),
        ("file:/data/a.mp4", "/data/a.mp4"),
        ("FILE:///data/100%.mp4", "/data/100%.mp4"),
        ("file:///data/a%2523.mp4", "/data/a%23.mp4"),
        ("/data/c%20d.mp4", "/data/c%20d.mp4"),
        ("s3://lab/c%20d.mp4", "s3://lab/c%20d.mp4"),
    ],
)
def test_the_escapes_of_a_file_address_are_resolved_and_no_others(tmp_path, address, path):
    (tmp_path / "list.csv").write_text(f"uri\n{address}\n")
    assert [row.uri for row in rows_of(tmp_path / "list.csv")] == [path]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b"\r\n  \r\n", "it is empty"),
        (
            b"uri,a\nx.mp4,1\ny.mp4,1,2\n",
            "line 3: it has 3 values, and the first one names 2 columns. Put values with ','",
        ),
        (b"uri;a\nx.mp4\n", "line 2: it has 1 values"),
        ("uri,who\na.mp4,José\n".encode("cp1252"), "Save it as CSV in UTF-8"),
        (b'uri,a\n"x.mp4,1\ny.mp4,2\n', "line 3: unexpected end of data"),
        (b"uri\na.mp4\nhttps://example.org/b.mp4\n", "row 2: https://example.org/b.mp4: can't read .* Download it"),
        (b"uri\ngs://lab/b.mp4\n", r"row 1: gs://lab/b.mp4: can't read this kind of address. Give a folder"),
        (b"uri\nfile://server/b.mp4\n", "row 1: file://server/b.mp4: can't read"),
        (b"uri,start\na.mp4,soon\n", "row 1 has the start 'soon'. Give seconds, such as 2.5, or a time"),
        (b"uri,start,end\na.mp4,1,2\na.mp4,1,-2\n", "row 2 has the end '-2'"),
        (b"uri,start,start_s\na.mp4,1,1\n", "columns start and start_s. Leave one"),
        (b"uri,end,end\na.mp4,1,1\n", "two columns 'end'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, words):
    (tmp_path / "list.csv").write_bytes(text)
    with pytest.raises(UserError, match=words):
        rows_of(tmp_path / "list.csv")


def test_a_spreadsheets_own_file_is_refused_with_what_to_do():
    with pytest.raises(UserError, match="Save the list as CSV"):
        is_manifest("/data/List.XLSX")


class TestSegments:
    def test_an_empty_end_is_the_files_and_a_row_without_times_is_all_of_it(self, tmp_path):
        path = tmp_path / "list.csv"
        path.write_text("uri,end,age,start\na,2,31,1.5\na,,32,3\na,2,33,\na,,34,NaT\n")
        segments = [Segment(1.5, 2.0), Segment(3.0, None), Segment(0.0, 2.0), WHOLE]
        assert [(row.segment, row.values) for row in rows_of(path)] == [
            (segment, (age,)) for segment, age in zip(segments, ("31", "32", "33", "34"), strict=True)
        ]

    @pytest.mark.parametrize("names", [("start", "end"), ("start_s", "end_s"), ("segment_start_s", "segment_end_s")])
    def test_parquet_with_numbers_and_durations(self, tmp_path, names):
        kinds = [pa.float32(), pa.int64(), pa.decimal128(9, 3), pa.duration("ns"), pa.duration("ms"), pa.string()]
        for kind in kinds:
            unit = {"duration[ns]": 10**9, "duration[ms]": 1000}.get(str(kind), 1)
            times = [[1 * unit, 3 * unit], [2 * unit, None]]
            columns = [
                pa.array([str(one) for one in of]) if kind == pa.string() else pa.array(of, kind) for of in times
            ]
            table = dict(zip(names, columns, strict=True)) | {"uri": ["a", "b"]}
            pq.write_table(pa.table(table), tmp_path / "m.parquet")
            assert [row.segment for row in rows_of(tmp_path / "m.parquet")] == [Segment(1.0, 2.0), Segment(3.0, None)]


def test_json_lines_keep_their_types_and_may_lack_what_others_have(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text('{"path": "a.wav", "age": 3, "start": 1.5}\n{"path": "b.wav", "note": "x", "tags": [1]}\n')
    manifest = Manifest(str(path), optional=("age", "note"))
    assert [(row.uri, row.segment.start_s, row.values) for row in manifest.rows()] == [
        (f"{tmp_path}/a.wav", 1.5, (3, None)),
        (f"{tmp_path}/b.wav", 0.0, (None, "x")),
    ]
    path.write_text('{"path": "a.wav", "speaker": "2024-01-02"}\n')
    assert [row.values for row in Manifest(str(path), optional=["speaker"]).rows()] == [("2024-01-02",)]
    path.write_text('{"path": "a.wav"}\n{"path": \n')
    with pytest.raises(UserError, match="can't be read"):
        Manifest(str(path))
