"""TESS: what its file names say (Pichora-Fuller and Dupuis 2020; 2,800 recordings of two women, 200 words each).

Names are ``OAF_back_angry``: the older or the younger actress, the word after "Say the word", the emotion, of which
"ps" is a pleasant surprise. One recording is published as ``OA_bite_neutral``.
"""

import re

from liser_ray.corpora.utterance import Corpus, Facts

_LABELS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "pleasant surprise",
    "sad": "sad",
}
_FIELDS = re.compile(rf"(OAF?|YAF)_([a-z]+)_({'|'.join(_LABELS)})")


def _parse(path: str) -> Facts | str:
    fields = _FIELDS.fullmatch(path.rpartition("/")[2])
    if fields is None:
        return "other files"
    actress, word, emotion = fields.groups()
    return Facts(_LABELS[emotion], {"O": "older", "Y": "younger"}[actress[0]], "woman", f"Say the word {word}")


CORPUS = Corpus("tess", "TESS", tuple(_LABELS.values()), lambda uris: _parse, "OAF_back_angry.wav")
