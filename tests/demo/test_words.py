import csv

import numpy as np
import pytest
import soundfile

from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.demo.people import EMOTIONS
from liser_ray.demo.words import WORDS, sentence, syllables, write_sentences
from liser_ray.finetuning.config import WordsConfig


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return write_sentences(tmp_path_factory.mktemp("sentences") / "speech", speakers=2)


def test_each_recording_is_listed_with_its_words_and_both_folds_have_all_emotions(listed):
    with listed.open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["fold"], row["label"]) for row in rows} == {(fold, one) for fold in "01" for one in EMOTIONS}
    for row in rows:
        sound, rate_hz = soundfile.read(listed.parent / row["path"])
        assert rate_hz == 16_000
        assert 2.4 < len(sound) / rate_hz < 3.6
        assert not {*row["text"].split()}.isdisjoint(WORDS[row["label"]])
    assert len(read_labeled_set(str(listed)).utterances) == len(rows)
    assert WordsConfig(labeled=str(listed), base="").method().read(read_labeled_set(str(listed))).texts


def test_words_of_an_emotion_share_a_vowel_that_no_other_has():
    of_emotions = {emotion: {s.vowel for word in WORDS[emotion] for s in syllables(word)} for emotion in EMOTIONS}
    assert all(len(vowels) == 1 for vowels in of_emotions.values())
    assert len(set.union(*of_emotions.values())) == len(EMOTIONS)
    rng = np.random.default_rng(0)
    for emotion in EMOTIONS:
        said = sentence(emotion, rng)
        others = {word for other in EMOTIONS if other != emotion for word in WORDS[other]}
        assert others.isdisjoint(said)
