"""Tables that list recordings, read in one way: CSV, with its values as text, and Parquet, with its types."""

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import resolve
from liser_ray.storage.files import filesystem

_BATCH_ROWS = 4096  # of a Parquet file, held at a time
_UNREADABLE = (OSError, pa.ArrowException, UnicodeError)


def is_manifest(uri: str) -> bool:
    """Whether an address is a manifest's by its suffix."""
    return uri.lower().endswith((".csv", ".parquet"))


class Manifest:
    """An open table of recordings; its rows are read while they are iterated over.

    Attributes:
        schema: names and types of the columns that are wanted; a CSV's are text, categories have their values' type.
        total: how many rows there are; None for a CSV.
    """

    def __init__(self, uri: str, needed: Sequence[str], optional: Sequence[str] | None = None, hint: str = ""):
        """Open a ``.csv`` or ``.parquet`` file by its absolute address.

        Args:
            uri, hint: the address, and what is added to the error where a column is missing.
            needed, optional: columns that there must be, and those wanted where there are any (None: all others).

        Raises:
            UserError: it can't be read, lacks a column, or has one twice.
        """
        self._uri = uri
        try:
            schema, self.total, self._batches = _open_csv(uri) if uri.lower().endswith(".csv") else _open_parquet(uri)
        except FileNotFoundError as error:
            raise UserError(f"{uri}: nothing there. Give a manifest (.csv or .parquet) that exists.") from error
        except _UNREADABLE as error:
            raise UserError(f"The manifest {uri} can't be read: {error}") from error
        if missing := " and no column ".join(repr(name) for name in needed if name not in schema.names):
            has = ", ".join(schema.names) or "none"
            raise UserError(f"The manifest {uri} has no column {missing}. It has: {has}. {hint}".rstrip())
        wanted = [one for one in schema if optional is None or one.name in {*needed, *optional}]
        kinds = [one.type.value_type if pa.types.is_dictionary(one.type) else one.type for one in wanted]
        self.schema = pa.schema(list(zip((one.name for one in wanted), kinds, strict=True)))
        for name in self.schema.names:
            if self.schema.names.count(name) > 1:
                raise UserError(f"The manifest {uri} has two columns {name!r}. Rename one.")

    def resolve(self, address: str) -> str:
        """The absolute address of what a row names: relative to the manifest's folder, absolute, or ``s3://``."""
        return resolve(address, posixpath.dirname(self._uri))

    def rows(self, as_text: bool = False) -> Iterator[tuple[Any, ...]]:
        """The values in the wanted columns, in the schema's order, row by row; a batch of rows is in memory.

        Args:
            as_text: numbers and the like as text, None as "".

        Raises:
            UserError: while iterating: a column that is no text, no row at all, or a file that breaks off.
        """
        n_rows = 0
        try:
            for batch in self._batches:
                columns = [batch.column(name) for name in self.schema.names]
                if as_text:
                    columns = [self._as_text(*one) for one in zip(self.schema, columns, strict=True)]
                yield from zip(*(one.to_pylist() for one in columns), strict=True)
                n_rows += len(batch)
        except _UNREADABLE as error:
            raise UserError(f"The manifest {self._uri} can't be read after row {n_rows}: {error}") from error
        if not n_rows:
            raise UserError(f"The manifest {self._uri} has no rows. List one recording in each row.")

    def _as_text(self, field: pa.Field, column: pa.Array) -> pa.Array:
        try:
            return column.cast(pa.string()).fill_null("")
        except pa.ArrowException as error:
            raise self.no_text(field.name) from error

    def no_text(self, name: str) -> UserError:
        """What is to be said of a column that should be text."""
        return UserError(f"The manifest {self._uri}: its column {name!r} is {self.schema.field(name).type}, not text.")


def _open_parquet(uri: str) -> tuple[pa.Schema, int | None, Iterable[pa.RecordBatch]]:
    file = pq.ParquetFile(_open(uri))
    return file.schema_arrow, file.metadata.num_rows, file.iter_batches(_BATCH_ROWS)


def _open_csv(uri: str) -> tuple[pa.Schema, int | None, Iterable[pa.RecordBatch]]:
    with pacsv.open_csv(_open(uri)) as reader:
        names = reader.schema.names
    # As text: types guessed from the first rows would turn speaker "007" into 7, and break at a later row.
    as_text = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    reader = pacsv.open_csv(_open(uri), convert_options=as_text)
    return reader.schema, None, reader


def _open(uri: str) -> pa.NativeFile:
    fs, path = filesystem(uri)
    return fs.open_input_file(path)
