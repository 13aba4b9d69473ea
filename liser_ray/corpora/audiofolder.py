"""Folders as Hugging Face's ``audiofolder`` has them: recordings, and a list ``metadata.csv`` or ``.jsonl`` of them.

A list may lie at the top, or one in each folder; its column ``file_name`` is a path from its own folder. Where folders
are called ``train`` and ``test`` (and perhaps ``validation``) they are the set's split.
"""

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from liser_ray.corpora.apart import divided, split_in
from liser_ray.corpora.labeled_list import NAMES, NEEDED, set_of, sex_of, utterance, values_of
from liser_ray.corpora.manifest import TEXT, Manifest
from liser_ray.corpora.published import OtherSetError, files_below
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError

NAME = "audiofolder"

_LISTS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def read(root: str, attributes: Sequence[str] = ()) -> LabeledSet:
    """The recordings that the lists below a folder or prefix name. The set is called as its folder is.

    Raises:
        UserError: there is no list, one lacks the column file_name, label or speaker, or it is faulty.
    """
    lists = [uri for uri in files_below(root) if posixpath.basename(uri) in _LISTS]
    if not lists:
        raise OtherSetError(f"{root} has none of {', '.join(_LISTS)}. Give the folder with the lists.")
    skipped: Counter[str] = Counter()
    found = [one for uri in lists for one in _rows(uri, root, attributes, skipped)]
    name = posixpath.basename(root)
    found, n_outside = divided(name, found)
    skipped["outside of the split"] += n_outside
    if not found:
        met = ", ".join(f"{count:,} {reason}" for reason, count in (+skipped).items())
        raise UserError(f"{root}: no recording can be used, but {met}. Name a label and a speaker in each row.")
    return set_of(name, found, f"The audiofolder {root}", dict(+skipped))


def _rows(uri: str, root: str, attributes: Sequence[str], skipped: Counter[str]) -> list[Utterance]:
    optional = [*NAMES["sex"], *NAMES[TEXT], *attributes]
    manifest = Manifest(uri, NEEDED, optional, "file_name", hint="It takes a label and a speaker to learn.")
    used = []
    for row in manifest.rows(as_text=True):
        values = values_of(row, manifest.schema.names)
        if lacking := [what for what in ("label", "speaker") if not values[what]]:
            skipped[f"without a {lacking[0]}"] += 1
            continue
        values["sex"] = sex_of(values.get("sex", ""))  # "other" is no reason to refuse a set that others have made
        one = utterance(row, values, attributes, f"{uri}: row {row.number}")
        used.append(replace(one, split=split_in(row.uri.removeprefix(root))))
    return used
