"""CREMA-D: what its file names say, and our folds (the papers that use it print none).

Names are ``SSSS_TTT_EEE_LL`` (Cao et al. 2014): actor, sentence, emotion, level; 7,442 recordings of 91 actors.
"""

import re

from liser_ray.corpora.utterance import Corpus, Facts

_LABELS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}

_TEXTS = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
"""By the code of the sentence."""

_ACTORS = tuple(map(str, range(1001, 1092)))
_TESTS = ((1001, 1019), (1020, 1037), (1038, 1055), (1056, 1073), (1074, 1091))  # both ends included
_N_VALIDATION = 15  # the last of the actors that a fold does not test on

_KNOWN_EMPTY = "1076_MTI_SAD_XX"

# Copies of the corpus name one recording 1040_ITH_SAD_X.
_FIELDS = re.compile(rf"(\d{{4}})_([A-Z]{{3}})_({'|'.join(_LABELS)})_(?:LO|MD|HI|XX?)")


def _parse(path: str) -> Facts | str:
    stem = path.rpartition("/")[2]
    fields = _FIELDS.fullmatch(stem)
    if fields is None or fields[1] not in _ACTORS:
        return "other files"
    actor, sentence, label = fields.groups()
    return "known empty" if stem == _KNOWN_EMPTY else Facts(_LABELS[label], actor, text=_TEXTS.get(sentence, ""))


def _fold(first: int, last: int) -> tuple[frozenset[str], frozenset[str]]:
    test = frozenset(map(str, range(first, last + 1)))
    return test, frozenset([actor for actor in _ACTORS if actor not in test][-_N_VALIDATION:])


CORPUS = Corpus(
    name="cremad",
    title="CREMA-D",
    labels=tuple(_LABELS.values()),
    parser=lambda uris: _parse,
    example="1001_DFA_ANG_XX.wav",
    folds=tuple(_fold(*test) for test in _TESTS),
)
