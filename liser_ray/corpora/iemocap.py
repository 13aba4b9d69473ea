"""IEMOCAP: what its names and lists say, and two ways of folds (Busso et al. 2008; 12 h, ten actors in five sessions).

As it is published: ``Session1`` to ``Session5``, each with the turns in ``sentences/wav/DIALOGUE/TURN.wav``, what
raters said of them in ``dialog/EmoEvaluation/DIALOGUE.txt`` (the majority's emotion; ``xxx`` where there is none), and
the words in ``dialog/transcriptions/DIALOGUE.txt``. Turns are called as ``Ses01F_impro01_M000``: session, who of the
two wears the markers, dialogue, who speaks. Used are the four labels of most papers, happy and excited as one: 5,531
turns of 10,039.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from liser_ray.corpora.utterance import Corpus, Facts
from liser_ray.storage.files import read_bytes

BY_SESSION = "iemocap-sessions"
"""What the set is called where a session is left out of each fold, and not a speaker."""

_LABELS = {"ang": "anger", "hap": "happiness", "exc": "happiness", "sad": "sadness", "neu": "neutral"}
_OTHERS = {
    "xxx": "without a majority",
    "fru": "frustrated",
    "sur": "surprised",
    "fea": "fearful",
    "dis": "disgusted",
    "oth": "of another emotion",
}

_TURN = r"Ses0[1-5][FM]_\w+_[FM]\d{3}"
_LISTS = re.compile(r".*/dialog/(EmoEvaluation|transcriptions)/Ses0[1-5][FM]_\w+\.txt")
_EVALUATED = re.compile(rf"\[[^\]]*\]\s+({_TURN})\s+(\w+)\s")
_SAID = re.compile(rf"({_TURN}) \[[^\]]*\]:\s*(.*)")
_MARKS = re.compile(r"\[[^\]]*\]|<[^>]*>")  # [LAUGHTER] and the like: no words, and no recogniser writes them

_READERS = 16  # 302 small lists, which an S3 store takes 20 to 100 ms for each

_SPEAKERS = tuple(f"{session}{sex}" for session in range(1, 6) for sex in "FM")


def _parser(uris: Sequence[str], by_session: bool = False) -> Callable[[str], Facts | str]:
    labels, texts = dict(_matches(uris, "EmoEvaluation", _EVALUATED)), dict(_matches(uris, "transcriptions", _SAID))

    def parse(path: str) -> Facts | str:
        turn = path.rpartition("/")[2]
        if not re.fullmatch(_TURN, turn):
            return "other files"
        label = labels.get(turn, "")
        if label not in _LABELS:
            return _OTHERS.get(label, "without an evaluation")
        session, sex = turn[4], turn[-4]
        text = " ".join(_MARKS.sub(" ", texts.get(turn, "")).split())
        fold = int(session) - 1 if by_session else None
        return Facts(_LABELS[label], session + sex, {"F": "woman", "M": "man"}[sex], text, fold)

    return parse


def _matches(uris: Sequence[str], folder: str, line: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """What the lists in the folders of this name say, by turn."""
    lists = [uri for uri in uris if (found := _LISTS.fullmatch(uri)) and found[1] == folder]
    with ThreadPoolExecutor(_READERS) as threads:
        for content in threads.map(read_bytes, lists):
            for found in map(line.match, content.decode(errors="replace").splitlines()):
                if found:
                    yield found[1], found[2]


CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    labels=tuple(dict.fromkeys(_LABELS.values())),
    parser=_parser,
    example="Ses01F_impro01_M000.wav",
    # One speaker is left out; the other one of the session validates.
    folds=tuple(
        (frozenset({one}), frozenset({other}))
        for one in _SPEAKERS
        for other in _SPEAKERS
        if other[0] == one[0] and other != one
    ),
)

SESSIONS = replace(CORPUS, parser=partial(_parser, by_session=True))
"""The same recordings; fold k tests both speakers of session k + 1, and two of the others are drawn to validate."""
