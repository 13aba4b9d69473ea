"""SAVEE: what its file names say (Jackson and Haq 2014; 480 recordings of four Englishmen).

Names are ``DC/a01`` as it is published, or ``DC_a01`` in copies that lie in one folder: speaker, emotion, number.
"""

import re

from liser_ray.corpora.utterance import Corpus, Facts

_LABELS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
_FIELDS = re.compile(rf"(?:.*/)?(DC|JE|JK|KL)[/_]({'|'.join(_LABELS)})\d\d")


def _parse(path: str) -> Facts | str:
    fields = _FIELDS.fullmatch(path)
    return Facts(_LABELS[fields[2]], fields[1], "man") if fields else "other files"


CORPUS = Corpus("savee", "SAVEE", tuple(_LABELS.values()), lambda uris: _parse, "DC/a01.wav")
