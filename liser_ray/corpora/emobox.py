"""EmoBox: the folds that its files give 32 sets (Ma et al. 2024), each in a folder ``data/NAME``.

As it is published: ``fold_1/NAME_train_fold_1.jsonl``, ``..._test_...`` and perhaps ``..._valid_...``, a line for each
recording with its path ``wav`` from EmoBox' own folder, two above, and its emotion; ``label_map.json`` says which
emotions are one label. With several folds each recording is tested in one of them; where there is one, it is a split.

EmoBox does not say who speaks. Of a set that is known here by the names of its files (`liser_ray.corpora.published`),
labels, speakers and all else are as they are there, and EmoBox gives the folds alone. Of any other set the recordings
that are tested together count as one speaker, "fold 1". Many of its folds are of recordings: a speaker who is in
several is then called by them, "3 (fold 1)".
"""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from liser_ray.corpora import meld, msppodcast
from liser_ray.corpora.apart import whole
from liser_ray.corpora.labeled_list import set_of
from liser_ray.corpora.published import CORPORA, OtherSetError, files_below, read_corpus
from liser_ray.corpora.segments import Segment
from liser_ray.corpora.utterance import LabeledSet, Split, Utterance
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join, resolve
from liser_ray.storage.files import read_bytes

NAME = "emobox"

_FOLD = re.compile(r".*/fold_(\d+)/(\w+)_(train|valid|test)_fold_\1\.jsonl")
_PARTS: dict[str, Split] = {"train": "train", "valid": "validation", "test": "test"}
_LABEL_MAPS = ("label_map.json", "label_dict.json")


def read(root: str, attributes: Sequence[str] = ()) -> LabeledSet:
    """The set whose folds are in EmoBox' folder ``data/NAME``; its recordings are in EmoBox' own folder.

    Raises:
        UserError: there are no folds, or they can't be read; the set has an official split that is read by its own
            name; none of its recordings is there.
    """
    uris = files_below(root)
    lists = [(uri, *found.groups()) for uri in uris if (found := _FOLD.fullmatch(uri))]
    names = {name for _, _, name, _ in lists}
    if len(names) != 1 or not any(part == "test" for *_, part in lists):
        more = f" of one set, but of {', '.join(sorted(names))}" if names else ""
        raise OtherSetError(f"{root} holds no folds of EmoBox{more}. Give a folder of one set in it, EmoBox/data/NAME.")
    (name,) = names
    if name in (meld.NAME, msppodcast.NAME):
        raise UserError(f"{root}: EmoBox' fold of {name} is its official split. Give {name}:FOLDER, which knows it.")
    base = own_folder(root)
    n_folds = len({number for _, number, _, _ in lists})
    placed: dict[tuple[str, Segment], Utterance] = {}
    folders, twice = set(), 0
    for uri, number, _, part in lists:
        if n_folds > 1 and part != "test":
            continue  # what no fold but this one tests, it trains on
        split: Split = _PARTS[part] if n_folds == 1 else ""
        for row in _lines(uri):
            folders.add(join(base, *row["wav"].split("/")[:2]))
            one = Utterance(
                uri=resolve(row["wav"], base),
                label=str(row["emo"]),
                speaker=split or f"fold {number}",
                fold=None if split else int(number) - 1,
                segment=Segment(float(row.get("start_time", 0)), float(row["end_time"]) if "end_time" in row else None),
                split=split,
            )
            twice += (one.uri, one.segment) in placed
            placed.setdefault((one.uri, one.segment), one)  # in the order of their names: of test before train
    if not placed:
        raise UserError(f"{root}: its lists of what is tested are empty. Get them again.")
    labeled = _known(name, placed, folders) if name in CORPORA else _other(name, placed, folders, root, uris)
    if not labeled.utterances:
        first = next(iter(placed))[0]
        raise UserError(f"{root}: none of its {len(placed):,} recordings is where EmoBox says, such as {first}.")
    return replace(labeled, skipped=labeled.skipped | ({"twice in EmoBox' folds": twice} if twice else {}))


def own_folder(root: str) -> str:
    """EmoBox' own folder, in which the recordings are, by a folder ``data/NAME`` in it."""
    return posixpath.dirname(posixpath.dirname(root))


def _known(name: str, placed: Mapping[tuple[str, Segment], Utterance], folders: Iterable[str]) -> LabeledSet:
    """The set as it is known here, in EmoBox' folds."""
    (folder,) = folders
    labeled = read_corpus(CORPORA[name], folder)
    where = {posixpath.splitext(uri)[0]: one for (uri, _), one in placed.items()}
    found = [(one, where.get(posixpath.splitext(one.uri)[0])) for one in labeled.utterances]
    inside = [replace(one, fold=place.fold, split=place.split) for one, place in found if place]
    skipped = Counter(labeled.skipped) + Counter({"in no fold of EmoBox": len(found) - len(inside)})
    return replace(labeled, utterances=tuple(whole(name, inside)), skipped=_missing(skipped, placed, inside))


def _other(
    name: str,
    placed: Mapping[tuple[str, Segment], Utterance],
    folders: Iterable[str],
    root: str,
    uris: Sequence[str],
) -> LabeledSet:
    """A set of which nothing more is known than what EmoBox says."""
    maps = [join(root, one) for one in _LABEL_MAPS if join(root, one) in uris]
    try:
        called = json.loads(read_bytes(maps[0])) if maps else {}
    except ValueError as error:
        raise UserError(f"{maps[0]} is damaged: {error}. Get it again.") from error
    there = {uri for folder in folders for uri in files_below(folder)}
    found = [replace(one, label=str(called.get(one.label, one.label))) for one in placed.values() if one.uri in there]
    return set_of(name, found, f"EmoBox' {name}", _missing(Counter(), placed, found))


def _missing(skipped: Counter[str], placed: Collection[object], found: Collection[object]) -> dict[str, int]:
    return dict(skipped + Counter({"in EmoBox' folds, but not here": len(placed) - len(found)}))


def _lines(uri: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_bytes(uri).decode().splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
                yield {"wav": row["wav"], "emo": row["emo"], **row}
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{uri}: line {number} is none of EmoBox': {error!r}. Get it again.") from error
