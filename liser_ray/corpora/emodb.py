"""EMO-DB: what its file names say (Burkhardt et al. 2005; 535 recordings of ten actors, in German).

Names are ``SSTTTEV``, such as 03a01Fa: speaker, sentence, emotion by its first letter in German, version.
"""

import re

from liser_ray.corpora.utterance import Corpus, Facts

_LABELS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
_SEXES = {"03": "man", "08": "woman", "09": "woman", "10": "man", "11": "man"}
_SEXES |= {"12": "man", "13": "woman", "14": "woman", "15": "man", "16": "woman"}
_FIELDS = re.compile(rf"({'|'.join(_SEXES)})[ab]\d\d([{''.join(_LABELS)}])[a-z]")


def _parse(path: str) -> Facts | str:
    fields = _FIELDS.fullmatch(path.rpartition("/")[2])
    if fields is None:
        return "other files"
    speaker, emotion = fields.groups()
    return Facts(_LABELS[emotion], str(int(speaker)), _SEXES[speaker])


CORPUS = Corpus("emodb", "EMO-DB", tuple(_LABELS.values()), lambda uris: _parse, "03a01Fa.wav")
