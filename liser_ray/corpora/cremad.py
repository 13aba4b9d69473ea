"""CREMA-D: what its file names say, and our folds (the papers that use it print none).

Names are ``SSSS_TTT_EEE_LL`` (Cao et al. 2014): actor, sentence, emotion, level; 7,442 recordings of 91 actors.
"""

import re

from liser_ray.corpora.utterance import Corpus

_LABELS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}

_ACTORS = tuple(map(str, range(1001, 1092)))
_TESTS = ((1001, 1019), (1020, 1037), (1038, 1055), (1056, 1073), (1074, 1091))  # both ends included
_N_VALIDATION = 15  # the last of the actors that a fold does not test on

_KNOWN_EMPTY = "1076_MTI_SAD_XX"

# Copies of the corpus name one recording 1040_ITH_SAD_X.
_FIELDS = re.compile(rf"(\d{{4}})_[A-Z]{{3}}_({'|'.join(_LABELS)})_(?:LO|MD|HI|XX?)")


def _parse(path: str) -> tuple[str, str, str] | str:
    stem = path.rpartition("/")[2]
    fields = _FIELDS.fullmatch(stem)
    if fields is None or fields[1] not in _ACTORS:
        return "other files"
    return "known empty" if stem == _KNOWN_EMPTY else (_LABELS[fields[2]], fields[1], "")


def _fold(first: int, last: int) -> tuple[frozenset[str], frozenset[str]]:
    test = frozenset(map(str, range(first, last + 1)))
    return test, frozenset([actor for actor in _ACTORS if actor not in test][-_N_VALIDATION:])


CORPUS = Corpus(
    name="cremad",
    title="CREMA-D",
    labels=tuple(_LABELS.values()),
    parse=_parse,
    example="1001_DFA_ANG_XX.wav",
    folds=tuple(_fold(*test) for test in _TESTS),
)
