"""Lists of recordings, read in one way: text with its values as text, and Parquet, with its types."""

import csv
import io
import itertools
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from liser_ray.corpora.segments import SEGMENT_COLUMNS, WHOLE, Segment, seconds
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import resolve
from liser_ray.storage.files import filesystem

_BATCH_ROWS = 4096  # held at a time
_HEAD_BYTES = 64 << 10  # in which the names of a text's columns are
_BUFFER_BYTES = 1 << 20
_JSON_BYTES = 16 << 20  # no line may be longer
_UNREADABLE = (OSError, pa.ArrowException, UnicodeError, csv.Error)
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_JSON_SUFFIX = ".jsonl"
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_SEPARATORS = ",;\t|"
_STRINGS = (pa.string(), pa.large_string(), pa.string_view())
# UTF-16 and UTF-32 by their marks, the longer ones first, then UTF-16 without.
_ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

TEXT = "text"
"""The column of what is said in a recording."""

_ADDRESSES = ("uri", "path", "file")
_STARTS = ("start", "start_s", SEGMENT_COLUMNS[0])
_ENDS = ("end", "end_s", SEGMENT_COLUMNS[1])


def is_manifest(uri: str) -> bool:
    """Whether an address is a manifest's by its suffix.

    Raises:
        UserError: it is a spreadsheet's.
    """
    if uri.lower().endswith(_SPREADSHEETS):
        raise UserError(f"{uri} is a spreadsheet's own file. Save the list as CSV (UTF-8), and give that.")
    return uri.lower().endswith((*_TEXT_SUFFIXES, _JSON_SUFFIX, ".parquet"))


class Row(NamedTuple):
    """A row of a manifest."""

    number: int  # from 1
    uri: str  # absolute; "" in a list without files
    segment: Segment
    values: tuple[Any, ...]  # of the columns in `Manifest.schema`


class Manifest:
    """An open table of recordings; its rows are read while they are iterated over.

    A row names a file (in a column ``uri``, ``path`` or ``file``) and perhaps the segment of it that is the recording
    (``start`` and ``end``, or ``start_s`` and ``end_s``, see `liser_ray.corpora.segments.seconds`; an empty end is the
    file's).

    Attributes:
        schema: names and types of the other columns that are wanted; those of text are text, categories have their
            values' type. Columns without a name are left out.
        total: how many rows there are; None for text.
        has_segments: whether there are columns of start or end.
    """

    def __init__(
        self,
        uri: str,
        needed: Sequence[Sequence[str]] = (),
        optional: Sequence[str] | None = None,
        address: str = _ADDRESSES[0],
        folder: str = "",
        hint: str = "",
        without_files: bool = False,
    ):
        """Open a list by its absolute address: Parquet, JSON Lines, or text of any usual separator and encoding.

        Args:
            uri: of the list.
            needed: names of other columns that there must be, for each the names that it may have.
            optional: columns that are wanted where there are any (None: all others); "votes.*" is all that begin so.
            address: which column names the files: of the usual ones, for errors; any other goes before them.
            folder: what addresses are relative to; empty: the list's own folder.
            hint: added to the error where a column is missing.
            without_files: whether it need not name files; the addresses are then "" in one that does not.

        Raises:
            UserError: it can't be read, lacks a column, or has one twice.
        """
        self._uri, self._folder = uri, folder or posixpath.dirname(uri)
        addresses = _ADDRESSES if address in _ADDRESSES else (address, *_ADDRESSES)
        try:
            if uri.lower().endswith(_TEXT_SUFFIXES):
                schema, self.total, self._batches = _open_text(uri, [addresses, *needed])
            elif uri.lower().endswith(_JSON_SUFFIX):
                schema, self.total, self._batches = _open_json(uri)
            else:
                schema, self.total, self._batches = _open_parquet(uri)
        except FileNotFoundError as error:
            raise UserError(f"{uri}: nothing there. Give a manifest (.csv or .parquet) that exists.") from error
        except _UNREADABLE as error:
            raise UserError(f"The manifest {uri} can't be read: {_words(error)}") from error
        self._address = next((name for name in addresses if name in schema.names), "" if without_files else address)
        if missing := " and no column ".join(
            " or ".join(map(repr, names))
            for names in ((self._address,), *needed)
            if {*schema.names, ""}.isdisjoint(names)
        ):
            has = ", ".join(schema.names) or "none"
            raise UserError(f"The manifest {uri} has no column {missing}. It has: {has}. {hint}".rstrip())
        self._times = [self._only(schema, names) for names in (_STARTS, _ENDS)]
        self.has_segments = any(self._times)
        read = {self._address, *self._times}
        among = None if optional is None else (*itertools.chain(*needed), *optional)
        wanted = [
            one
            for one in schema
            if one.name
            and one.name not in read
            and (among is None or any(fnmatchcase(one.name, name) for name in among))
        ]
        self.schema = pa.schema([(one.name, _value_type(one)) for one in wanted])
        for name in (*filter(None, read), *self.schema.names):
            if schema.names.count(name) > 1:
                raise UserError(f"The manifest {uri} has two columns {name!r}. Rename one.")
        if self._address and _value_type(schema.field(self._address)) not in _STRINGS:
            raise self._no_text(schema.field(self._address))

    def rows(self, as_text: bool = False) -> Iterator[Row]:
        """The rows; a batch of them is in memory.

        Args:
            as_text: numbers and the like as text, None as "".

        Raises:
            UserError: while iterating: a row without an address or with one that can't be read, a time that is none, a
                column that is no text, no row at all, or a file that breaks off.
        """
        n_rows = 0
        try:
            for batch in self._batches:
                read = [name and batch.column(name).to_pylist() for name in (self._address, *self._times)]
                addresses, starts, ends = (one or itertools.repeat(None, len(batch)) for one in read)
                columns = [batch.column(name) for name in self.schema.names]
                if as_text:
                    columns = [self._as_text(*one) for one in zip(self.schema, columns, strict=True)]
                values = zip(*(one.to_pylist() for one in columns), strict=True) if columns else [()] * len(batch)
                for address, start, end, of_row in zip(addresses, starts, ends, values, strict=True):
                    n_rows += 1
                    yield Row(n_rows, self._resolved(n_rows, address), self._segment(n_rows, start, end), of_row)
        except _UNREADABLE as error:
            raise UserError(f"The manifest {self._uri} can't be read after row {n_rows}: {_words(error)}") from error
        if not n_rows:
            raise UserError(f"The manifest {self._uri} has no rows. List one recording in each row.")

    def _only(self, schema: pa.Schema, names: Sequence[str]) -> str:
        """Which of some names a column has; "": none."""
        found = [name for name in names if name in schema.names]
        if len(found) > 1:
            raise UserError(f"The manifest {self._uri} has the columns {' and '.join(found)}. Leave one of them.")
        return found[0] if found else ""

    def _resolved(self, number: int, address: str | None) -> str:
        if not self._address:
            return ""
        if not address:
            raise UserError(
                f"The manifest {self._uri}: row {number} has no {self._address}. Fill it in or take the row out."
            )
        try:
            return resolve(address, self._folder)
        except UserError as error:
            raise UserError(f"The manifest {self._uri}: row {number}: {error}") from error

    def _segment(self, number: int, *times: object) -> Segment:
        if not self.has_segments:
            return WHOLE
        found = []
        for name, time in zip(self._times, times, strict=True):
            try:
                found.append(seconds(time))
            except ValueError as error:
                raise UserError(
                    f"The manifest {self._uri}: row {number} has the {name} {str(time)!r}. Give seconds, such as 2.5, "
                    "or a time such as 0:00:02.5, from the file's start."
                ) from error
        return Segment(found[0] or 0.0, found[1])

    def _as_text(self, field: pa.Field, column: pa.Array) -> pa.Array:
        try:
            return column.cast(pa.string()).fill_null("")
        except pa.ArrowException as error:
            raise self._no_text(field) from error

    def _no_text(self, field: pa.Field) -> UserError:
        return UserError(f"The manifest {self._uri}: its column {field.name!r} is {field.type}, not text.")


def _value_type(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _words(error: Exception) -> str:
    advice = ". Save it as CSV in UTF-8." if isinstance(error, UnicodeError) else ""
    return f"{error}{advice}"


def _open_parquet(uri: str) -> tuple[pa.Schema, int | None, Iterable[pa.RecordBatch]]:
    fs, path = filesystem(uri)
    file = pq.ParquetFile(fs.open_input_file(path))
    return file.schema_arrow, file.metadata.num_rows, file.iter_batches(_BATCH_ROWS)


def _open_json(uri: str) -> tuple[pa.Schema, int | None, Iterable[pa.RecordBatch]]:
    """An object in each line. All of it is in memory: the types of its columns are those of all lines."""
    fs, path = filesystem(uri)

    def read(schema: pa.Schema | None = None) -> pa.Table:
        with fs.open_input_stream(path) as stream:
            return pj.read_json(stream, pj.ReadOptions(block_size=_JSON_BYTES), pj.ParseOptions(explicit_schema=schema))

    table = read()
    if dates := [(one.name, pa.string()) for one in table.schema if pa.types.is_temporal(one.type)]:
        table = read(pa.schema(dates))  # JSON has none: they are text as it stands there
    return table.schema, table.num_rows, table.to_batches(_BATCH_ROWS)


def _open_text(uri: str, names: Sequence[Sequence[str]]) -> tuple[pa.Schema, int | None, Iterable[pa.RecordBatch]]:
    """Text with separators; of each group of names one is expected, which tells the separator."""
    fs, path = filesystem(uri)
    with fs.open_input_stream(path) as stream:
        head = stream.read(_HEAD_BYTES)
    encoding = next((name for mark, name in _ENCODINGS if head.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in head[:2]:
        encoding = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"

    def suits(separator: str) -> tuple[int, int]:
        try:
            first = next(_text_rows(io.StringIO(head.decode(encoding, "replace"), newline=""), separator), [])
        except csv.Error:  # quotes that another separator ends
            first = []
        return sum(not {*first}.isdisjoint(group) for group in names), len(first)

    separator = max(_SEPARATORS, key=suits)
    text = io.TextIOWrapper(fs.open_input_stream(path, buffer_size=_BUFFER_BYTES), encoding, newline="")
    rows = _text_rows(text, separator)
    schema = pa.schema([(name, pa.string()) for name in next(rows, [])])
    if not schema.names:
        raise csv.Error("it is empty")
    return schema, None, _batches(rows, schema)


def _text_rows(text: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Rows of values without the blanks around them; rows without any are left out. Values may have line breaks."""
    # Types would be guessed from the first rows: speaker "007" would become 7. Hence the standard library's reader.
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
    n_names = 0
    try:
        for row in reader:
            values = [value.strip() for value in row]
            if not any(values):
                continue
            n_names = n_names or len(values)
            if len(values) != n_names:
                raise csv.Error(
                    f"it has {len(values)} values, and the first one names {n_names} columns. Put values with "
                    f"{separator!r} in them in double quotes"
                )
            yield values
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num}: {error}") from error


def _batches(rows: Iterator[list[str]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while some := list(itertools.islice(rows, _BATCH_ROWS)):
        columns = [pa.array(values, pa.string()) for values in zip(*some, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
