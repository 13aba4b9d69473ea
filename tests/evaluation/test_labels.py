import numpy as np
import pytest

from liser_ray.corpora.labels import SYNONYMS
from liser_ray.evaluation.labels import common_labels
from liser_ray.runtime.errors import UserError

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def test_usual_names_of_one_emotion_are_the_same():
    found = common_labels(RAVDESS, ("ANG", "hap", "Sadness", "boredom", "neutral"))
    assert found.names == ("ANG", "hap", "Sadness", "neutral")
    assert [RAVDESS[k] for k in found.of_classifier] == ["angry", "happy", "sad", "neutral"]
    np.testing.assert_array_equal(found.of_set, [0, 1, 2, 4])
    assert set(found.pairs) == {"angry=ANG", "happy=hap", "sad=Sadness"}
    assert found.only_set == ("boredom",)
    assert found.only_classifier == ("calm", "fearful", "disgust", "surprised")


def test_what_is_given_goes_before():
    found = common_labels(("0", "1", "calm"), ("angry", "sad", "neutral"), ("0=sad", "1=angry", "calm=neutral"))
    assert [("0", "1", "calm")[k] for k in found.of_classifier] == ["1", "0", "calm"]


def test_of_two_that_mean_the_same_one_is_chosen():
    found = common_labels(
        ("happy", "sad", "angry", "anger"), ("joy", "happiness", "sad", "mad"), ("happy=joy", "anger=mad")
    )
    assert found.names == ("joy", "sad", "mad")
    assert (found.only_set, found.only_classifier) == (("happiness",), ("angry",))


@pytest.mark.parametrize(
    ("classifier", "labeled", "given", "words"),
    [
        (("x", "y"), ("angry", "sad"), (), "fewer than two labels in common"),
        (("angry", "anger", "sad"), ("angry", "sad"), (), "mean the same"),
        (("a", "b", "sad"), ("joy", "happiness", "sad"), (), "mean the same"),
        (("angry", "anger"), ("angry", "sad"), ("anger=angry", "angry=angry"), "Give each label one partner"),
        (RAVDESS, ("angry", "sad"), ("sad=sad", "sad=angry"), "Give each label one partner"),
        (RAVDESS, ("angry", "sad"), ("cross=angry",), "--label_map cross=angry"),
        (RAVDESS, ("angry", "sad"), ("angry",), "CLASSIFIER=SET"),
    ],
)
def test_what_can_not_be_matched_is_said(classifier, labeled, given, words):
    with pytest.raises(UserError, match=words):
        common_labels(classifier, labeled, given)


def test_no_name_has_two_meanings():
    names = [name for meaning, others in SYNONYMS.items() for name in (meaning, *others)]
    assert len(set(names)) == len(names)
