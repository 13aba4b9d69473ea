"""Labeled sets that are listed in a table: path, label and speaker of each recording, and what more is known."""

import posixpath
import re

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import filesystem, resolve

SUFFIXES = frozenset({".csv", ".parquet"})

_NEEDED = ("path", "label", "speaker")
_OPTIONAL = ("fold", "sex")
_SEXES = {"man": "man", "male": "man", "m": "man", "woman": "woman", "female": "woman", "f": "woman"}
_FOLD = re.compile(r"(\d+)(\.0*)?")  # tools write whole numbers as 3.0 where a column had gaps


def read_manifest(uri: str) -> LabeledSet:
    """The labeled set in a ``.csv`` or ``.parquet`` file; its name is the file's stem, its labels are sorted.

    Columns are ``path`` (relative to the manifest's folder, absolute, or ``s3://``), ``label``, ``speaker`` and
    optionally ``fold`` and ``sex`` (man, male, m, woman, female or f; empty where it is not known); others are ignored.
    Values are taken without the blanks around them.

    Raises:
        UserError: if it can't be read, has no rows, or lacks a column; if a row lacks a value, its fold is no whole
            number or its sex none of these words; if labels differ in upper and lower case alone; if a speaker is in
            two folds or has two sexes.
    """
    try:
        table = _read_csv(uri) if uri.lower().endswith(".csv") else _read_parquet(uri)
    except FileNotFoundError as error:
        raise UserError(f"{uri}: nothing there. Give a manifest (.csv or .parquet) that exists.") from error
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise UserError(f"The manifest {uri} can't be read: {error}") from error
    columns = _text_columns(table, uri)
    folder = posixpath.dirname(uri)
    rows = zip(*(columns[name] for name in (*_NEEDED, *_OPTIONAL)), strict=True)
    utterances = tuple(
        Utterance(resolve(path, folder), label, speaker, _parse_fold(fold, number, uri), _parse_sex(sex, number, uri))
        for number, (path, label, speaker, fold, sex) in enumerate(rows, start=1)
    )
    labels = tuple(sorted({one.label for one in utterances}))
    _check_case(labels, uri)
    _check_folds(utterances, uri)
    _check_sexes(utterances, uri)
    name = posixpath.splitext(posixpath.basename(uri))[0]
    # The order of the rows must not matter to what is trained: sets are compared over copies of a manifest.
    return LabeledSet(name, labels, tuple(sorted(utterances, key=lambda one: (one.uri, one.label, one.speaker))), {})


def _read_csv(uri: str) -> pa.Table:
    fs, path = filesystem(uri)
    # As text: a guessed type would turn speaker "007" into 7.
    options = pacsv.ConvertOptions(column_types={name: pa.string() for name in (*_NEEDED, *_OPTIONAL)})
    with fs.open_input_stream(path) as stream:
        return pacsv.read_csv(stream, convert_options=options)


def _read_parquet(uri: str) -> pa.Table:
    fs, path = filesystem(uri)
    with fs.open_input_file(path) as file:
        return pq.read_table(file)


def _text_columns(table: pa.Table, uri: str) -> dict[str, list[str]]:
    """The values as text; those of an optional column are "" throughout if the table has none."""
    names = table.column_names
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UserError(
            f"The manifest {uri} has no column {' and no column '.join(map(repr, missing))}. It has: "
            f"{', '.join(names) or 'none'}. Needed are path, label and speaker; fold and sex may be given."
        )
    if not table.num_rows:
        raise UserError(f"The manifest {uri} has no rows. List one recording in each row.")
    columns = {name: [""] * table.num_rows for name in _OPTIONAL}
    for name in (name for name in (*_NEEDED, *_OPTIONAL) if name in names):
        if names.count(name) > 1:
            raise UserError(f"The manifest {uri} has two columns {name!r}. Rename one.")
        try:
            values = table.column(name).cast(pa.string()).to_pylist()
        except pa.ArrowException as error:
            kind = table.schema.field(name).type
            raise UserError(f"The manifest {uri}: its column {name!r} is {kind}, not text.") from error
        columns[name] = [(value or "").strip() for value in values]
        if name != "sex" and "" in columns[name]:
            row = columns[name].index("") + 1
            raise UserError(f"The manifest {uri}: row {row} has no {name}. Fill it in or take the row out.")
    return columns


def _parse_fold(text: str, number: int, uri: str) -> int | None:
    if not text:
        return None
    found = _FOLD.fullmatch(text)
    if found is None:
        raise UserError(f"The manifest {uri}: row {number} has the fold {text!r}. Folds are whole numbers, as 0, 1, 2.")
    return int(found[1])


def _parse_sex(text: str, number: int, uri: str) -> str:
    if not text:
        return ""
    sex = _SEXES.get(text.lower())
    if sex is None:
        raise UserError(
            f"The manifest {uri}: row {number} has the sex {text!r}. Write man or woman, or leave it empty where it is "
            "not known."
        )
    return sex


def _check_case(labels: tuple[str, ...], uri: str) -> None:
    by_lower: dict[str, str] = {}
    for label in labels:
        other = by_lower.setdefault(label.lower(), label)
        if other != label:
            raise UserError(f"The manifest {uri} has the labels {other!r} and {label!r}. Write them the same way.")


def _check_folds(utterances: tuple[Utterance, ...], uri: str) -> None:
    folds: dict[str, int | None] = {}
    for one in utterances:
        other = folds.setdefault(one.speaker, one.fold)
        if other != one.fold:
            raise UserError(
                f"The manifest {uri}: speaker {one.speaker} is in the folds {other} and {one.fold}. "
                "Put all recordings of a speaker into one fold, or speakers would be tested that were trained on."
            )


def _check_sexes(utterances: tuple[Utterance, ...], uri: str) -> None:
    sexes: dict[str, str] = {}
    for one in utterances:
        if one.sex and sexes.setdefault(one.speaker, one.sex) != one.sex:
            raise UserError(
                f"The manifest {uri}: speaker {one.speaker} is a man in one row and a woman in another. "
                "Write the same in all rows, and give two speakers two names."
            )
