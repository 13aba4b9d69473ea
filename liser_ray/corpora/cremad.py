"""CREMA-D: what its file names say, and our folds (the papers that use it print none).

Names are ``SSSS_TTT_EEE_LL`` (Cao et al. 2014): actor, sentence, emotion, level; 7,442 recordings of 91 actors.
"""

import re

NAME = "cremad"

LABELS = ("anger", "disgust", "fear", "happy", "neutral", "sad")
"""In the order of their codes: ANG, DIS, FEA, HAP, NEU, SAD."""

ACTORS = tuple(str(actor) for actor in range(1001, 1092))

N_VALIDATION = 15
"""Validation speakers of each fold: the last ones of the actors that it does not test on."""

KNOWN_EMPTY = frozenset({"1076_MTI_SAD_XX"})

_TESTS = ((1001, 1019), (1020, 1037), (1038, 1055), (1056, 1073), (1074, 1091))  # both ends included


def _fold(first: int, last: int) -> tuple[frozenset[str], frozenset[str]]:
    test = frozenset(str(actor) for actor in range(first, last + 1))
    others = [actor for actor in ACTORS if actor not in test]
    return test, frozenset(others[-N_VALIDATION:])


# Actors of each fold: (test, validation).
FOLDS: tuple[tuple[frozenset[str], frozenset[str]], ...] = tuple(_fold(first, last) for first, last in _TESTS)

_EMOTIONS = dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), LABELS, strict=True))

# Copies of the corpus name one recording 1040_ITH_SAD_X.
_FIELDS = re.compile(rf"(?P<actor>\d{{4}})_[A-Z]{{3}}_(?P<emotion>{'|'.join(_EMOTIONS)})_(LO|MD|HI|XX?)")


def parse_name(stem: str) -> tuple[str, str] | str:
    """Label and speaker ("1001" to "1091") from a file's name without suffix, or the words for why it is not used."""
    fields = _FIELDS.fullmatch(stem)
    if fields is None or fields["actor"] not in ACTORS:
        return "other files"
    if stem in KNOWN_EMPTY:
        return "known empty"
    return _EMOTIONS[fields["emotion"]], fields["actor"]
