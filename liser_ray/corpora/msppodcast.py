"""MSP-Podcast: its list of labels, and its split (Lotfian and Busso 2019; segments of podcasts, some 1 to 11 s each).

``Labels/labels_consensus.csv`` (``labels_concensus.csv`` in earlier releases) has a row for each segment, which is in
``Audios/`` (``Audio/``) by that name: the majority's emotion by a letter, the means of the raters' arousal, valence and
dominance, 1 to 7, the speaker, and the part of the split. Used are its Train, Development and Test1, as one fold.

Speakers are not known of all segments. Those of a podcast then count as one, "unknown-0012", who may be several people,
and may be the same as one with a name.
"""

import logging
import posixpath
import re
from collections.abc import Sequence

from liser_ray.corpora.listed import listed_set, read_rows
from liser_ray.corpora.published import OtherSetError, files_below, sound_of
from liser_ray.corpora.utterance import LabeledSet, Split, Utterance
from liser_ray.runtime.errors import UserError

log = logging.getLogger(__name__)

NAME = "msppodcast"
LABELS = ("anger", "sadness", "happiness", "surprise", "fear", "disgust", "contempt", "neutral")

_LETTERS = dict(zip("ASHUFDCN", LABELS, strict=True))
_WITHOUT = {"X": "without a majority", "O": "of another emotion"}
_SPLITS: dict[str, Split] = {"Train": "train", "Development": "validation", "Test1": "test"}
_ATTRIBUTES = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
_COLUMNS = ("FileName", "EmoClass", *_ATTRIBUTES.values(), "SpkrID", "Gender", "Split_Set")
_LISTS = ("labels_consensus.csv", "labels_concensus.csv")
_SEXES = {"Male": "man", "Female": "woman"}
_UNKNOWN = ("", "unknown")
_PODCAST = re.compile(r"MSP-PODCAST_(\d+)_.*")


def read(root: str, attributes: Sequence[str] = ()) -> LabeledSet:
    """The segments below a folder or prefix.

    Raises:
        UserError: no list, or one of other columns; no segment.
    """
    uris = files_below(root)
    lists = {posixpath.basename(uri): uri for uri in uris if posixpath.basename(uri) in _LISTS}
    if not lists:
        raise OtherSetError(f"{root} has no {_LISTS[0]}, the list of MSP-Podcast. Give the folder with all of it.")
    uri = next(lists[name] for name in _LISTS if name in lists)
    rows = {posixpath.splitext(row["FileName"])[0]: _row(row, attributes, uri) for row in read_rows(uri, _COLUMNS)}
    unknown = sum(isinstance(row, Utterance) and row.speaker.startswith(_UNKNOWN[1]) for row in rows.values())
    if unknown:
        log.warning("%s: the speakers of %s labeled recordings are unknown: one for each podcast", NAME, f"{unknown:,}")
    files = {posixpath.basename(path): found for path, found in sound_of(root, uris)}
    return listed_set(NAME, LABELS, rows, files, root)


def _row(row: dict[str, str], wanted: Sequence[str], uri: str) -> Utterance | str:
    if row["Split_Set"] not in _SPLITS:
        return f"of {row['Split_Set'] or 'no part of the split'}"
    letter = row["EmoClass"]
    if letter not in _LETTERS:
        return _WITHOUT.get(letter, "without a label")
    speaker = row["SpkrID"]
    if speaker.lower() in _UNKNOWN:
        podcast = _PODCAST.fullmatch(row["FileName"])
        speaker = f"{_UNKNOWN[1]}-{podcast[1]}" if podcast else _UNKNOWN[1]
    try:
        attributes = tuple((name, float(row[of])) for name, of in _ATTRIBUTES.items() if name in wanted and row[of])
    except ValueError as error:
        raise UserError(f"{uri}: {row['FileName']}: {error}. Get the list as it is published.") from error
    return Utterance(
        uri="",
        label=_LETTERS[letter],
        speaker=speaker,
        sex=_SEXES.get(row["Gender"], ""),
        attributes=attributes,
        split=_SPLITS[row["Split_Set"]],
    )
