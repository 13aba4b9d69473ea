"""Published sets whose own lists say everything: which recordings there are, of whom, and for what each is used."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from liser_ray.corpora.apart import whole
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import read_bytes


def read_rows(uri: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a published CSV file, values without the blanks around them.

    Raises:
        UserError: it lacks a column.
    """
    rows = csv.DictReader(io.StringIO(read_bytes(uri).decode("utf-8-sig", errors="replace"), newline=""))
    if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
        raise UserError(f"{uri} has no column {' and no column '.join(missing)}. Get the list as it is published.")
    return [{name: (row[name] or "").strip() for name in columns} for row in rows]


def listed_set(
    name: str, labels: tuple[str, ...], rows: Mapping[str, Utterance | str], files: Mapping[str, str], where: str
) -> LabeledSet:
    """The set of those listed recordings whose files are there; what else is listed or there is counted.

    Args:
        name: of the set.
        labels: in the order of the network's outputs.
        rows: what the lists say, by the recording's key: a recording, whose address is filled in here, or the words
            for why it is not used.
        files: addresses by the same keys.
        where: the folder, for errors.

    Raises:
        UserError: no recording is there.
    """
    skipped = Counter(row for row in rows.values() if isinstance(row, str))
    listed = {key: row for key, row in rows.items() if isinstance(row, Utterance)}
    named = dict(zip(listed, whole(name, [*listed.values()]), strict=True))
    taken = [replace(one, uri=files[key]) for key, one in named.items() if key in files]
    skipped["listed, but not there"] += len(named) - len(taken)
    skipped["other files"] += sum(key not in rows for key in files)
    skipped = +skipped
    if not taken:
        met = ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
        raise UserError(f"{where}: no recording of {name} found, but {met}. Put the recordings beside their lists.")
    return LabeledSet(name, labels, tuple(sorted(taken, key=lambda one: one.uri)), dict(skipped))
