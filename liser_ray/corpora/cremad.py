"""CREMA-D: what its file names say, and our folds (the papers that use it print none).

Names are ``SSSS_TTT_EEE_LL`` (Cao et al. 2014): actor, sentence, emotion, level; 7,442 recordings of 91 actors. Their
label is what the actor meant. What raters heard is in ``processedResults/tabulatedVotes.csv``, as it is published: a
row for each recording and way of asking, whose number begins with 1 for those who heard the voice alone, and columns
that count the votes for each emotion by its first letter.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from liser_ray.corpora.labeled_list import sex_of
from liser_ray.corpora.utterance import Corpus, Facts
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import read_bytes

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


_VOTES = "/processedResults/tabulatedVotes.csv"
_ACTORS_LIST = "/VideoDemographics.csv"
_VOICE = re.compile(r"1\d{5}")  # 2 is the face alone, 3 is both


def _parser(uris: Sequence[str]) -> Callable[[str], Facts | str]:
    return partial(_parse, _read_sexes(uris), _read_votes(uris))


def _rows(uris: Sequence[str], name: str, *columns: str) -> list[dict[str, str]]:
    """Of the published list whose address ends so; none where it is not there, or has other columns."""
    found = next((uri for uri in uris if uri.endswith(name)), "")
    rows = csv.DictReader(read_bytes(found).decode("utf-8-sig", errors="replace").splitlines() if found else ())
    return [*rows] if {*columns} <= {*(rows.fieldnames or ())} else []


def _read_sexes(uris: Sequence[str]) -> dict[str, str]:
    """By the actor's number."""
    return {row["ActorID"]: sex_of(row["Sex"] or "") for row in _rows(uris, _ACTORS_LIST, "ActorID", "Sex")}


def _read_votes(uris: Sequence[str]) -> dict[str, tuple[tuple[str, float], ...]]:
    """How many raters heard each emotion in a voice, by the recording's name."""
    letters = {code[0]: label for code, label in _LABELS.items()}
    of_voices = (row for row in _rows(uris, _VOTES, "", "fileName", *letters) if _VOICE.fullmatch(row[""]))
    try:
        return {row["fileName"]: tuple((label, float(row[of])) for of, label in letters.items()) for row in of_voices}
    except (TypeError, ValueError) as error:
        raise UserError(f"{_VOTES}: {error}. The list of votes is damaged: get it again, or take it away.") from error


def _parse(sexes: Mapping[str, str], votes: Mapping[str, tuple[tuple[str, float], ...]], path: str) -> Facts | str:
    stem = path.rpartition("/")[2]
    fields = _FIELDS.fullmatch(stem)
    if fields is None or fields[1] not in _ACTORS:
        return "other files"
    actor, sentence, label = fields.groups()
    if stem == _KNOWN_EMPTY:
        return "known empty"
    text = _TEXTS.get(sentence, "")
    return Facts(_LABELS[label], actor, sexes.get(actor, ""), text, votes=votes.get(stem, ()))


def _fold(first: int, last: int) -> tuple[frozenset[str], frozenset[str]]:
    test = frozenset(map(str, range(first, last + 1)))
    return test, frozenset([actor for actor in _ACTORS if actor not in test][-_N_VALIDATION:])


CORPUS = Corpus(
    name="cremad",
    title="CREMA-D",
    labels=tuple(_LABELS.values()),
    parser=_parser,
    example="1001_DFA_ANG_XX.wav",
    folds=tuple(_fold(*test) for test in _TESTS),
    lists=("SentenceFilenames.csv", "VideoDemographics.csv", "tabulatedVotes.csv"),
)
