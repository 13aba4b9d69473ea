"""MELD: its three lists, and its split (Poria et al. 2019; 13,708 clips of a television series with what is said).

As it is published: ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv``, and clips
``dia0_utt0.mp4`` by the numbers of dialogue and utterance, in ``train_splits``, ``dev_splits_complete`` and
``output_repeated_splits_test``; sound taken out of them may lie in folders whose names tell the part as well. The split
is by dialogue, not by speaker: the six friends are in all three parts, and are then called by them, "Ross (test)".

Two listed clips are no use to anybody: train's ``dia125_utt3.mp4`` can't be decoded, which becomes a row with a reason
as with any other broken file, and dev's ``dia110_utt7.mp4`` was never published, which is counted.
"""

import posixpath
import re
from collections.abc import Sequence

from liser_ray.corpora.apart import split_in
from liser_ray.corpora.listed import listed_set, read_rows
from liser_ray.corpora.published import OtherSetError, files_below, sound_of
from liser_ray.corpora.utterance import LabeledSet, Split, Utterance

NAME = "meld"
LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

_LISTS: dict[str, Split] = {
    "train_sent_emo.csv": "train",
    "dev_sent_emo.csv": "validation",
    "test_sent_emo.csv": "test",
}
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_CLIP = re.compile(r"dia\d+_utt\d+")


def read(root: str, attributes: Sequence[str] = ()) -> LabeledSet:
    """The clips below a folder or prefix.

    Raises:
        UserError: a list is missing, or one of other columns; no clip.
    """
    uris = files_below(root)
    lists = {posixpath.basename(uri): uri for uri in uris}
    if missing := [name for name in _LISTS if name not in lists]:
        raise OtherSetError(f"{root} has no {', '.join(missing)}, lists of MELD. Give the folder with all of it.")
    rows: dict[str, Utterance | str] = {}
    for name, split in _LISTS.items():
        for row in read_rows(lists[name], _COLUMNS):
            label = row["Emotion"].lower()
            known = label in LABELS and row["Speaker"]
            rows[f"{split}/dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"] = (
                Utterance("", label, row["Speaker"], text=row["Utterance"], split=split) if known else "without a label"
            )
    files = {}
    for path, uri in sound_of(root, uris):
        name = posixpath.basename(path)
        files[f"{split_in(path)}/{name}" if _CLIP.fullmatch(name) else path] = uri
    return listed_set(NAME, LABELS, rows, files, root)
