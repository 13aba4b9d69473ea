"""Databases in audEERING's audformat, as audb and others hand them out: a header ``db.yaml``, and tables beside it.

Read are the schemes that most databases have: ``emotion``, ``speaker`` and, where they are there, ``gender`` and
``transcription``. Parts of a split, of the types train, dev and test, are taken from the tables that have the emotion.

The package would read tables from pickles, and a header with Python's own tags, both of which can run code. So only
text and Parquet are handed to it, in a folder of their own, and the header is read as plain YAML first.
"""

import posixpath
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from liser_ray.corpora.apart import divided
from liser_ray.corpora.labeled_list import set_of, sex_of
from liser_ray.corpora.published import OtherSetError, files_below
from liser_ray.corpora.segments import WHOLE, Segment, seconds
from liser_ray.corpora.utterance import LabeledSet, Split, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import resolve
from liser_ray.storage.files import read_bytes

if TYPE_CHECKING:  # an extra, for those who have such a database
    import audformat

NAME = "audformat"

HEADER = "db.yaml"
_TABLES = (".csv", ".parquet")
_EMOTION, _SPEAKER = "emotion", "speaker"
_SEX, _TEXT = ("gender", "sex"), ("transcription", "text")
_SPLITS: dict[str, Split] = {"train": "train", "dev": "validation", "test": "test"}


def read(root: str, attributes: Sequence[str] = ()) -> LabeledSet:
    """The labeled recordings or segments of the database in a folder or prefix. The set is called as the database is.

    Raises:
        UserError: there is no database, the package audformat is missing, the database can't be read, or it has no
            emotion or no speaker.
    """
    files = {posixpath.basename(uri): uri for uri in files_below(root) if posixpath.dirname(uri) == root}
    if HEADER not in files:
        raise OtherSetError(f"{root} has no {HEADER}, the header of an audformat database. Give its folder.")
    try:
        import audformat
    except ImportError as error:
        raise UserError(
            f"{root} is an audformat database. Install what reads it: pip install 'liser-ray[audformat]'."
        ) from error
    skipped: Counter[str] = Counter()
    try:
        yaml.safe_load(read_bytes(files[HEADER]))
        with tempfile.TemporaryDirectory() as copy:
            for name, uri in files.items():
                if name == HEADER or (name.startswith("db.") and name.endswith(_TABLES)):
                    Path(copy, name).write_bytes(read_bytes(uri))
            database = audformat.Database.load(copy)
            table = database.get(_EMOTION, [_SPEAKER, *_SEX, *_TEXT, *attributes])
            splits = _splits(database)
        found, n_outside = divided(database.name, [*_utterances(table, splits, root, attributes, skipped)])
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{root} can't be read as an audformat database: {error}. Tables are needed as .csv or .parquet, and one "
            "emotion for each recording; else write a list with path, label and speaker."
        ) from error
    skipped["outside of the split"] += n_outside
    if not found:
        met = ", ".join(f"{count:,} {reason}" for reason, count in (+skipped).items()) or "no recording"
        raise UserError(
            f"{root}: the audformat database {database.name} has no recording with an {_EMOTION} and a {_SPEAKER}, but "
            f"{met}. It has the schemes {', '.join(database.schemes) or 'none'}. Write a list with path, label and "
            "speaker of what it has."
        )
    return set_of(database.name, found, f"The audformat database {root}", dict(+skipped))


def _splits(database: "audformat.Database") -> dict[tuple[Any, ...], Split]:
    """The part of the split that each recording with an emotion is in, by its key."""
    parts: dict[tuple[Any, ...], Split] = {}
    for split_id, split in database.splits.items():
        if (part := _SPLITS.get(split.type)) and any(one.split_id == split_id for one in database.tables.values()):
            for key in database.get(_EMOTION, splits=split_id).index:
                parts[_key(key)] = part
    return parts


def _key(index: str | tuple[Any, ...]) -> tuple[str, Segment]:
    """Of a row, whether its index has files alone or segments: the file, and where in it."""
    if isinstance(index, str):
        return index, WHOLE
    file, start, end = index
    return file, Segment(seconds(start) or 0.0, seconds(end) if end == end else None)  # NaT: the file's end


def _utterances(
    table: Any,  # noqa: ANN401 (a data frame, of an index that audformat knows)
    splits: Mapping[tuple[Any, ...], Split],
    root: str,
    attributes: Sequence[str],
    skipped: Counter[str],
) -> Iterator[Utterance]:
    for index, values in zip(table.index, table.astype(object).to_dict("records"), strict=True):
        known = {str(name): value for name, value in values.items() if value == value and value is not None}
        if lacking := [what for what in (_EMOTION, _SPEAKER) if what not in known]:
            skipped[f"without {'an emotion' if lacking[0] == _EMOTION else 'a speaker'}"] += 1
            continue
        file, segment = _key(index)
        yield Utterance(
            uri=resolve(file, root),
            label=str(known[_EMOTION]),
            speaker=str(known[_SPEAKER]),
            sex=sex_of(next((str(known[name]) for name in _SEX if name in known), "")),
            segment=segment,
            text=next((str(known[name]) for name in _TEXT if name in known), ""),
            attributes=tuple((name, float(known[name])) for name in attributes if name in known),
            split=splits.get((file, segment), ""),
        )
