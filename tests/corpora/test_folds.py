import logging
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.corpora.folds import Fold, choose_folds, folds_of
from liser_ray.corpora.labeled import CORPORA
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError

PUBLISHED = {
    "ravdess": [
        ([2, 5, 14, 15, 16], [3, 6]),
        ([3, 6, 7, 13, 18], [10, 11]),
        ([10, 11, 12, 19, 20], [8, 17]),
        ([8, 17, 21, 23, 24], [1, 14]),
        ([1, 4, 9, 22], [2, 5]),
    ],
    "cremad": [
        *((list(range(a, b)), list(range(1077, 1092))) for a, b in ((1001, 1020), (1020, 1038), (1038, 1056))),
        (list(range(1056, 1074)), list(range(1077, 1092))),
        (list(range(1074, 1092)), list(range(1059, 1074))),
    ],
}


def labeled_set(rows, name="set", labels=None):
    """A set of (label, speaker) or (label, speaker, fold) rows."""
    utterances = tuple(Utterance(f"/{k}.wav", *row) for k, row in enumerate(rows))
    return LabeledSet(name, labels or tuple(sorted({row[0] for row in rows})), utterances, {})


def corpus(name, speakers):
    labels = CORPORA[name].labels
    return labeled_set([(label, str(one)) for one in speakers for label in labels], name, labels)


def numbers(speakers):
    return sorted(map(int, speakers))


def check(folds, speakers):
    """What any division must keep."""
    for fold in folds:
        assert fold.train | fold.validation | fold.test == set(speakers)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(set(speakers))
        assert fold.train
        assert fold.test
    assert Counter(speaker for fold in folds for speaker in fold.test) == dict.fromkeys(speakers, 1)


rows = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([str(k) for k in range(1, 15)])), min_size=2).filter(
    lambda found: len({speaker for _, speaker in found}) >= 2
)
repeatable = settings(max_examples=60, deadline=None, derandomize=True)


class TestPublished:
    @pytest.mark.parametrize(("name", "speakers"), [("ravdess", range(1, 25)), ("cremad", range(1001, 1092))])
    def test_all_speakers(self, name, speakers):
        folds = folds_of(corpus(name, speakers))
        assert [(numbers(fold.test), numbers(fold.validation)) for fold in folds] == PUBLISHED[name]
        assert [fold.index for fold in folds] == [0, 1, 2, 3, 4]
        check(folds, [str(one) for one in speakers])

    @pytest.mark.parametrize(
        ("name", "speakers", "expected"),
        [
            ("ravdess", [2, 3, 7, 10], [(0, [7, 10], [3], [2]), (1, [2], [10], [3, 7]), (2, [2, 3, 7], [], [10])]),
            (
                "cremad",
                [1001, 1030, 1060, 1080],
                [
                    (0, [1030, 1060], [1080], [1001]),
                    (1, [1001, 1060], [1080], [1030]),
                    (3, [1001, 1030], [1080], [1060]),
                    (4, [1001, 1030], [1060], [1080]),
                ],
            ),
        ],
    )
    def test_some_speakers_keep_their_folds(self, caplog, name, speakers, expected):
        with caplog.at_level(logging.WARNING):
            folds = folds_of(corpus(name, speakers))
        assert [(f.index, numbers(f.train), numbers(f.validation), numbers(f.test)) for f in folds] == expected
        for index in {0, 1, 2, 3, 4} - {fold.index for fold in folds}:
            assert f"fold {index} is left out: nobody to test on" in caplog.text

    def test_too_few_speakers_are_refused_and_others_are_divided(self):
        with pytest.raises(UserError, match="there are only 2, 5"):
            folds_of(corpus("ravdess", [2, 5]))
        check(folds_of(corpus("ravdess", range(20, 30))), [str(k) for k in range(20, 30)])


def test_iemocap_leaves_out_a_speaker_and_validates_on_the_other_one_of_the_session():
    labels, speakers = CORPORA["iemocap"].labels, [f"{k}{sex}" for k in range(1, 6) for sex in "FM"]
    folds = folds_of(labeled_set([(label, one) for one in speakers for label in labels], "iemocap", labels))
    assert [fold.test for fold in folds[:3]] == [{"1F"}, {"1M"}, {"2F"}]
    assert [fold.validation for fold in folds[:3]] == [{"1M"}, {"1F"}, {"2M"}]
    assert len(folds) == 10
    check(folds, speakers)


def test_iemocap_leaves_out_a_session():
    rows = [(label, f"{k}{sex}", k - 1) for k in range(1, 6) for sex in "FM" for label in "ab"]
    folds = folds_of(labeled_set(rows, "iemocap"))
    assert [fold.test for fold in folds] == [{f"{k}F", f"{k}M"} for k in range(1, 6)]
    assert {len(fold.validation) for fold in folds} == {2}


class TestManifestFolds:
    def test_fold_k_tests_its_speakers(self):
        folds = folds_of(labeled_set([("x" if k % 2 else "y", str(k), (0, 3, 7)[k % 3]) for k in range(12)]))
        assert [fold.index for fold in folds] == [0, 3, 7]
        assert [numbers(fold.test) for fold in folds] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
        assert [len(fold.validation) for fold in folds] == [2, 2, 2]
        check(folds, [str(k) for k in range(12)])

    def test_they_come_before_published_ones_and_one_is_refused(self):
        rows = [("neutral", str(actor), actor % 2) for actor in range(1, 25)]
        assert len(folds_of(labeled_set(rows, "ravdess"))) == 2
        with pytest.raises(UserError, match="all recordings are in fold 4"):
            folds_of(labeled_set([("x", "1", 4), ("y", "2", 4)]))


class TestOtherSets:
    def test_five_folds_with_every_label_in_each(self):
        labeled = labeled_set([(label, str(speaker)) for speaker in range(20) for label in "abc" * (speaker % 4 + 1)])
        folds = folds_of(labeled)
        assert all(3 <= len(fold.test) <= 5 for fold in folds)
        assert all(len(fold.validation) == 3 for fold in folds)  # 20 % of 15 to 17
        check(folds, labeled.speakers)
        assert len({folds_of(labeled, seed)[0] for seed in range(5)}) > 1

    def test_labels_are_spread(self):
        # Ten speakers say only a, ten only b.
        labeled = labeled_set([("ab"[speaker % 2], str(speaker)) for speaker in range(20) for _ in range(7)])
        assert [Counter(int(s) % 2 for s in fold.test) for fold in folds_of(labeled)] == [{0: 2, 1: 2}] * 5

    @pytest.mark.parametrize(("n_speakers", "n_validation"), [(2, 0), (3, 0), (4, 1), (5, 1)])
    def test_few_speakers(self, n_speakers, n_validation):
        labeled = labeled_set([(label, str(speaker)) for speaker in range(n_speakers) for label in "ab"])
        folds = folds_of(labeled)
        assert [len(fold.validation) for fold in folds] == [n_validation] * n_speakers
        check(folds, labeled.speakers)

    def test_no_fold_is_left_without_speakers_where_labels_can_not_be_spread(self):
        labeled = labeled_set([("a", "2"), ("a", "3"), ("b", "1"), ("c", "4"), ("d", "5")])
        folds = folds_of(labeled, seed=0)
        assert len(folds) == 5
        check(folds, labeled.speakers)

    @given(rows, st.integers(0, 2**32 - 1), st.randoms(use_true_random=False), st.booleans())
    @repeatable
    def test_any_set_is_divided_cleanly_whatever_the_order_of_its_recordings(self, rows, seed, random, own_folds):
        if own_folds:
            first = rows[0][1]
            rows = [(label, speaker, int(speaker != first) + int(speaker) % 2) for label, speaker in rows]
            own_folds = {fold for *_, fold in rows}
            if len(own_folds) < 2:
                return
        labeled = labeled_set(rows)
        folds = folds_of(labeled, seed)
        assert len(folds) == (len(own_folds) if own_folds else min(5, len(labeled.speakers)))
        check(folds, labeled.speakers)
        shuffled = list(labeled.utterances)
        random.shuffle(shuffled)
        assert folds_of(replace(labeled, utterances=tuple(shuffled)), seed) == folds


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (({"1", "2", "10"}, {"10"}, {"2", "4"}), "Fold 3 has speakers in two of train, validation and test: 2, 10"),
        ((set(), set(), {"1"}), "no speaker to train on"),
        (({"1"}, set(), set()), "no speaker to test on"),
    ],
)
def test_a_fold_that_is_none_is_refused(parts, words):
    with pytest.raises(UserError, match=words):
        Fold(3, *map(frozenset, parts))


def test_folds_are_chosen_by_number():
    folds = [Fold(n, frozenset("a"), frozenset(), frozenset("b")) for n in range(3)]
    assert [fold.index for fold in choose_folds("2, 0,2", folds)] == [2, 0]
    assert choose_folds("all", folds) == folds
    with pytest.raises(UserError, match="0, 1, 2"):
        choose_folds("0,9", folds)
