"""Several labeled sets as one."""

import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.corpora.folds import everybody, folds_of
from liser_ray.corpora.joined import join, read_labeled_sets
from liser_ray.corpora.labeled import CORPORA
from liser_ray.corpora.speech import LabeledSpeech, training_recordings
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.results.set_names import identity
from liser_ray.runtime.errors import UserError

RAVDESS, CREMAD = (CORPORA[name].labels for name in ("ravdess", "cremad"))


def labeled_set(name, labels, speakers="12", folds=None):
    """Each label by each speaker."""
    rows = [(label, speaker, folds and folds[speaker]) for speaker in speakers for label in labels]
    utterances = tuple(Utterance(f"/{name}/{k}.wav", *row, sex="man") for k, row in enumerate(rows))
    return LabeledSet(name, tuple(labels), utterances, {"songs": 1})


class TestLabels:
    def test_those_of_the_first_and_what_others_add_by_their_usual_names(self, caplog):
        caplog.set_level(logging.INFO)
        sets = [labeled_set("ravdess", RAVDESS), labeled_set("cremad", CREMAD), labeled_set("mine", ("JOY", "bored"))]
        joined = join(sets)
        assert (joined.name, joined.labels) == ("ravdess+cremad+mine", (*RAVDESS, "bored"))
        assert [part.name for part in joined.parts] == ["ravdess", "cremad", "mine"]
        assert [tuple(joined.labels[k] for k in part.places) for part in joined.parts] == [
            RAVDESS,
            ("angry", "disgust", "fearful", "happy", "neutral", "sad"),
            ("happy", "bored"),
        ]
        assert "cremad: anger=angry, fear=fearful; without calm, surprised, bored" in caplog.text
        assert "mine: JOY=happy; without neutral" in caplog.text
        assert joined.skipped == {"songs": 3}
        assert joined.labels_by_set["cremad"] == CREMAD

    def test_each_recording_keeps_its_own_label_and_speakers_of_one_name_are_two(self):
        sets = [labeled_set("ravdess", RAVDESS), labeled_set("cremad", CREMAD)]
        joined = join(sets)
        assert joined.speakers == ("cremad/1", "cremad/2", "ravdess/1", "ravdess/2")
        for part, one in zip(joined.parts, sets, strict=True):
            mine = [each for each in joined.utterances if each.uri.startswith(f"/{one.name}/")]
            assert len(mine) == len(one.utterances)
            for each, as_before in zip(mine, one.utterances, strict=True):
                assert part.labels[part.places.index(joined.labels.index(each.label))] == as_before.label
                assert identity(joined.name, each.speaker) == (one.name, as_before.speaker)
                assert part.own_names([each.speaker]) == {each.speaker: as_before.speaker}

    def test_a_map_says_what_is_not_plain(self):
        sets = [labeled_set("one", ("cross", "glad")), labeled_set("two", ("anger", "happy"))]
        assert join(sets).labels == ("cross", "glad", "anger", "happy")
        assert join(sets, ("anger=cross", "glad=happy")).labels == ("cross", "glad")

    @pytest.mark.parametrize(
        ("sets", "given", "words"),
        [
            ([("a", ("sad", "happy"))] * 2, (), "called a, a: give each once"),
            ([("a", ("sad", "happy")), ("b+c", ("sad", "happy"))], (), r"have no \+"),
            ([("a", ("sad", "happy")), ("b", ("sad", "joy", "happy"))], (), "Two labels of b mean the same"),
            ([("a", ("sad", "happy")), ("b", ("sad", "x"))], ("x=glad",), "x=glad: give ONE=OTHER .* happy, sad, x"),
            ([("a", ("sad", "happy")), ("b", ("sad", "x"))], ("x",), "--label_map x: give ONE=OTHER"),
            ([("a", ("sad", "happy")), ("b", ("speech",))], (), "b has no labels"),
        ],
    )
    def test_what_can_not_be_joined(self, sets, given, words):
        with pytest.raises(UserError, match=words):
            join([labeled_set(*one) for one in sets], given)


def test_one_address_is_that_set_and_needs_no_map(tones):
    one = read_labeled_sets(tones)
    assert read_labeled_sets([tones]) == one
    assert not one.joined
    with pytest.raises(UserError, match="give it with more --labeled"):
        read_labeled_sets([tones], ["high=low"])


@st.composite
def sets_with_folds(draw):
    """Sets of other numbers of speakers, with folds of their own, of the corpus, or without."""
    found = []
    for name in draw(st.lists(st.sampled_from(["ravdess", "calls", "x"]), min_size=2, max_size=3, unique=True)):
        first = draw(st.integers(1, 3))
        speakers = [str(k) for k in range(first, first + draw(st.integers(3, 12)))]
        folds = None
        if name == "calls":
            folds = {speaker: draw(st.integers(0, 6)) for speaker in speakers} | {speakers[0]: 0, speakers[1]: 3}
        found.append(labeled_set(name, ("sad", "happy"), speakers, folds))
    return found


def test_votes_are_for_the_labels_as_they_are_called_in_all_sets():
    other = labeled_set("x", ("anger", "bored"), "ab")
    votes = (("anger", 2.0), ("bored", 1.0))
    voted = replace(other, utterances=tuple(replace(one, votes=votes) for one in other.utterances))
    joined = join([labeled_set("y", ("sad", "angry"), "ab"), voted])
    of_sets = {one.uri.split("/")[1]: one.votes for one in joined.utterances}
    assert of_sets == {"y": (), "x": (("angry", 2.0), ("bored", 1.0))}


@given(sets_with_folds(), st.integers(0, 3))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_fold_of_joined_sets_is_that_fold_of_each(sets, seed):
    joined = join(sets)
    found = folds_of(joined, seed)
    for fold in found:
        assert fold.train | fold.validation | fold.test == set(joined.speakers)
    for labeled, part in joined.joined:
        own = folds_of(labeled, seed)
        for fold in found:
            expected = next((one for one in own if one.index == fold.index), everybody(own))
            for name in ("train", "validation", "test"):
                assert {*part.own_names(getattr(fold, name)).values()} == getattr(expected, name)
    tested = Counter(speaker for fold in found for speaker in fold.test)
    alone = [part.prefix + s for labeled, part in joined.joined for one in folds_of(labeled, seed) for s in one.test]
    assert tested == Counter(alone)
    assert max(tested.values()) == 1


def speech_of(labeled):
    """Recordings of one sample each."""
    utterances = labeled.utterances
    return LabeledSpeech(
        name=labeled.name,
        labels=labeled.labels,
        pcm=np.zeros(len(utterances), np.int16),
        ends=np.arange(1, len(utterances) + 1),
        label_index=np.array([labeled.labels.index(one.label) for one in utterances]),
        speakers=tuple(one.speaker for one in utterances),
        sexes={},
        uris=tuple(one.uri for one in utterances),
        segments=tuple(one.segment for one in utterances),
        skipped={},
        problems=(),
        joined=tuple(part for _, part in labeled.joined),
    )


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_a_share_of_each_sets_labels_is_that_of_the_set_alone(fraction):
    sets = [labeled_set("ravdess", RAVDESS, map(str, range(1, 25))), labeled_set("x", ("sad", "bored"), "abcdefgh")]
    joined = join(sets)
    speech = speech_of(joined)
    for fold in folds_of(joined):
        chosen = {speech.uris[k] for k in training_recordings(speech, fold, fraction)}
        alone = set()
        for one in sets:
            own = next(each for each in folds_of(one) if each.index == fold.index)
            alone |= {speech_of(one).uris[k] for k in training_recordings(speech_of(one), own, fraction)}
        assert chosen == alone


def test_a_label_that_a_set_has_must_be_there_in_its_own_training_recordings():
    rare = LabeledSet("x", ("sad", "bored"), labeled_set("x", ("sad",), "abc").utterances, {})
    joined = join([labeled_set("y", ("sad", "bored"), "abc"), rare])
    with pytest.raises(UserError, match="x, fold 0: no training recording has the label bored"):
        training_recordings(speech_of(joined), folds_of(joined)[0])
