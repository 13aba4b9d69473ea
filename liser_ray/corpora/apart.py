"""Parts of a set that its publishers train, validate and test on: an official split, whose speakers may be in several.

Folds have whole speakers. One who is in several parts of a split, or in several of somebody else's folds, is therefore
called by the part as well, "Ross (test)": the recordings are then where the publishers have them, and that the speaker
was heard in training is said.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace

from liser_ray.corpora.utterance import Split, Utterance
from liser_ray.results.records import sorted_speakers
from liser_ray.results.set_names import in_part

log = logging.getLogger(__name__)

_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "development", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_NAMED_AT_MOST = 10


def split_in(path: str) -> Split:
    """The part of a split that the folders of a path name, the innermost first, as in ``train_splits/a.wav``; or ""."""
    for folder in reversed(path.split("/")[:-1]):
        for word in re.split(r"[^a-z]+", folder.lower()):
            if word in _WORDS:
                return _WORDS[word]
    return ""


def whole(name: str, utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same recordings, with a speaker who is in several parts or folds called by the part as well.

    Args:
        name: of the set, for the warning.
        utterances: all that there are of the set by its lists, so that names do not depend on which files are there.
    """
    parts_of: dict[str, set[str]] = {}
    for one in utterances:
        parts_of.setdefault(one.speaker, set()).add(_part(one))
    in_several = {speaker for speaker, parts in parts_of.items() if len(parts) > 1}
    if in_several:
        first, n_more = sorted_speakers(in_several)[:_NAMED_AT_MOST], max(0, len(in_several) - _NAMED_AT_MOST)
        log.warning(
            "%s: %d of %d speakers are in several parts as it is divided (%s%s), so scores on its test parts are not "
            "those of unheard speakers",
            *(name, len(in_several), len(parts_of), ", ".join(first), f", and {n_more} more" if n_more else ""),
        )
    return [
        replace(one, speaker=in_part(one.speaker, _part(one))) if one.speaker in in_several else one
        for one in utterances
    ]


def _part(one: Utterance) -> str:
    return one.split or ("" if one.fold is None else f"fold {one.fold}")


def divided(name: str, utterances: Sequence[Utterance]) -> tuple[list[Utterance], int]:
    """Recordings with their split where it has a part to train and one to test on, and else without any.

    Returns:
        The recordings, see `whole`; and how many were left out since they are in no part of the split.
    """
    if {"train", "test"} <= {one.split for one in utterances}:
        inside = [one for one in utterances if one.split]
        return whole(name, inside), len(utterances) - len(inside)
    return [replace(one, split="") for one in utterances], 0
