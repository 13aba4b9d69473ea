"""RAVDESS: what its file names say, and the folds that most papers test on.

Names are ``MM-CC-EE-II-SS-RR-AA`` (Livingstone and Russo 2018): modality, vocal channel, emotion, intensity, sentence,
repetition, actor. Used are those of modality 03 (sound alone) and channel 01 (speech): 1,440 recordings of 24 actors.
"""

import re

from liser_ray.corpora.utterance import Corpus, Facts

# In the order of the emotion field, 01 to 08.
_LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

_TEXTS = ("Kids are talking by the door", "Dogs are sitting by the door")  # of the sentence field, 01 and 02

# Actors of each fold: (test, validation). The tests are those of Luna-Jiménez et al. 2021.
_FOLDS = (
    ("2 5 14 15 16", "3 6"),
    ("3 6 7 13 18", "10 11"),
    ("10 11 12 19 20", "8 17"),
    ("8 17 21 23 24", "1 14"),
    ("1 4 9 22", "2 5"),
)

_FIELDS = re.compile(r"(0[123])-(0[12])-0([1-8])-0[12]-0([12])-0[12]-(0[1-9]|1\d|2[0-4])")


def _parse(path: str) -> Facts | str:
    fields = _FIELDS.fullmatch(path.rpartition("/")[2])
    if fields is None:
        return "other files"
    modality, channel, emotion, sentence, actor = fields.groups()
    if modality != "03":
        return "videos"
    if channel == "02":
        return "songs"
    sex = "man" if int(actor) % 2 else "woman"
    return Facts(_LABELS[int(emotion) - 1], str(int(actor)), sex, _TEXTS[int(sentence) - 1])


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS speech",
    labels=_LABELS,
    parser=lambda uris: _parse,
    example="03-01-05-01-02-01-12.wav",
    folds=tuple((frozenset(test.split()), frozenset(validation.split())) for test, validation in _FOLDS),
)
