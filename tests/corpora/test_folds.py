import logging
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.corpora import cremad, ravdess
from liser_ray.corpora.folds import Fold, folds_of
from liser_ray.corpora.labeled import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError


def labeled_set(rows, name="set", labels=None):
    """A set of (label, speaker) or (label, speaker, fold) rows."""
    utterances = tuple(Utterance(f"/{k}.wav", *row) for k, row in enumerate(rows))
    return LabeledSet(name, labels or tuple(sorted({row[0] for row in rows})), utterances, {})


def corpus(module, speakers):
    return labeled_set([(label, str(one)) for one in speakers for label in module.LABELS], module.NAME, module.LABELS)


def numbers(speakers):
    return sorted(map(int, speakers))


def check(folds, speakers):
    """What any division must keep."""
    for fold in folds:
        assert fold.train | fold.validation | fold.test == set(speakers)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(set(speakers))
        assert fold.train
        assert fold.test
    tested = Counter(speaker for fold in folds for speaker in fold.test)
    assert tested == dict.fromkeys(speakers, 1)


rows = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([str(k) for k in range(1, 15)])), min_size=2).filter(
    lambda found: len({speaker for _, speaker in found}) >= 2
)


class TestRavdess:
    def test_the_published_folds(self):
        folds = folds_of(corpus(ravdess, range(1, 25)))
        assert [numbers(fold.test) for fold in folds] == [
            [2, 5, 14, 15, 16],
            [3, 6, 7, 13, 18],
            [10, 11, 12, 19, 20],
            [8, 17, 21, 23, 24],
            [1, 4, 9, 22],
        ]
        assert [numbers(fold.validation) for fold in folds] == [[3, 6], [10, 11], [8, 17], [1, 14], [2, 5]]
        assert [fold.index for fold in folds] == [0, 1, 2, 3, 4]
        check(folds, [str(actor) for actor in range(1, 25)])

    def test_some_actors_keep_their_folds(self, caplog):
        with caplog.at_level(logging.WARNING):
            folds = folds_of(corpus(ravdess, [2, 3, 7, 10]))
        assert [(f.index, numbers(f.train), numbers(f.validation), numbers(f.test)) for f in folds] == [
            (0, [7, 10], [3], [2]),
            (1, [2], [10], [3, 7]),
            (2, [2, 3, 7], [], [10]),
        ]
        assert "fold 3 is left out: nobody to test on" in caplog.text
        assert "fold 4 is left out: nobody to test on" in caplog.text

    def test_too_few_actors_are_refused(self):
        with pytest.raises(UserError, match="there are only 2, 5"):
            folds_of(corpus(ravdess, [2, 5]))

    def test_a_manifest_of_that_name_with_other_speakers_is_divided(self):
        check(folds_of(corpus(ravdess, range(20, 30))), [str(k) for k in range(20, 30)])


class TestCremad:
    def test_the_listed_folds(self):
        folds = folds_of(corpus(cremad, range(1001, 1092)))
        ranges = [(1001, 1019), (1020, 1037), (1038, 1055), (1056, 1073), (1074, 1091)]
        assert [numbers(fold.test) for fold in folds] == [list(range(a, b + 1)) for a, b in ranges]
        last_15 = list(range(1077, 1092))
        assert [numbers(fold.validation) for fold in folds] == [*[last_15] * 4, list(range(1059, 1074))]
        assert [len(fold.train) for fold in folds] == [57, 58, 58, 58, 58]
        check(folds, [str(actor) for actor in range(1001, 1092)])

    def test_missing_actors_do_not_shift_the_others(self):
        folds = folds_of(corpus(cremad, [1001, 1030, 1060, 1080]))
        assert [(f.index, numbers(f.train), numbers(f.validation), numbers(f.test)) for f in folds] == [
            (0, [1030, 1060], [1080], [1001]),
            (1, [1001, 1060], [1080], [1030]),
            (3, [1001, 1030], [1080], [1060]),
            (4, [1001, 1030], [1060], [1080]),
        ]


class TestManifestFolds:
    def test_fold_k_tests_its_speakers(self):
        rows = [("x" if k % 2 else "y", str(k), (0, 3, 7)[k % 3]) for k in range(12)]
        folds = folds_of(labeled_set(rows))
        assert [fold.index for fold in folds] == [0, 3, 7]
        assert [numbers(fold.test) for fold in folds] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
        assert [len(fold.validation) for fold in folds] == [2, 2, 2]
        check(folds, [str(k) for k in range(12)])

    def test_they_come_before_published_ones(self):
        rows = [("neutral", str(actor), actor % 2) for actor in range(1, 25)]
        assert len(folds_of(labeled_set(rows, ravdess.NAME))) == 2

    def test_one_fold_is_refused(self):
        with pytest.raises(UserError, match="all recordings are in fold 4"):
            folds_of(labeled_set([("x", "1", 4), ("y", "2", 4)]))


class TestOtherSets:
    def test_five_folds_with_every_label_in_each(self):
        rows = [(label, str(speaker)) for speaker in range(20) for label in "abc" for _ in range(speaker % 4 + 1)]
        labeled = labeled_set(rows)
        folds = folds_of(labeled)
        assert all(3 <= len(fold.test) <= 5 for fold in folds)
        assert all(len(fold.validation) == 3 for fold in folds)  # 20 % of 15 to 17
        check(folds, labeled.speakers)

    def test_labels_are_spread(self):
        # Ten speakers say only a, ten only b.
        labeled = labeled_set([("ab"[speaker % 2], str(speaker)) for speaker in range(20) for _ in range(7)])
        assert [Counter(int(s) % 2 for s in fold.test) for fold in folds_of(labeled)] == [{0: 2, 1: 2}] * 5

    def test_the_seed_changes_the_folds(self):
        labeled = labeled_set([(label, str(speaker)) for speaker in range(30) for label in "abc"])
        assert len({folds_of(labeled, seed)[0] for seed in range(5)}) > 1

    @pytest.mark.parametrize(("n_speakers", "n_folds", "n_validation"), [(2, 2, 0), (3, 3, 0), (4, 4, 1), (5, 5, 1)])
    def test_few_speakers(self, n_speakers, n_folds, n_validation):
        labeled = labeled_set([(label, str(speaker)) for speaker in range(n_speakers) for label in "ab"])
        folds = folds_of(labeled)
        assert len(folds) == n_folds
        assert {len(fold.validation) for fold in folds} == {n_validation}
        check(folds, labeled.speakers)

    def test_no_fold_is_left_without_speakers_where_labels_can_not_be_spread(self):
        labeled = labeled_set([("a", "2"), ("a", "3"), ("b", "1"), ("c", "4"), ("d", "5")])
        folds = folds_of(labeled, seed=0)
        assert len(folds) == 5
        check(folds, labeled.speakers)

    @given(rows, st.integers(0, 2**32 - 1))
    @settings(max_examples=60, deadline=None)
    def test_any_set_is_divided_cleanly(self, rows, seed):
        labeled = labeled_set(rows)
        folds = folds_of(labeled, seed)
        assert len(folds) == min(5, len(labeled.speakers))
        check(folds, labeled.speakers)

    @given(rows, st.integers(0, 1000), st.randoms(use_true_random=False), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_the_order_of_the_recordings_does_not_matter(self, rows, seed, random, own_folds):
        if own_folds:
            first = rows[0][1]
            rows = [(label, speaker, int(speaker != first) + int(speaker) % 2) for label, speaker in rows]
            if len({fold for *_, fold in rows}) < 2:
                return
        labeled = labeled_set(rows)
        shuffled = list(labeled.utterances)
        random.shuffle(shuffled)
        assert folds_of(replace(labeled, utterances=tuple(shuffled)), seed) == folds_of(labeled, seed)


class TestFold:
    def test_speakers_in_two_parts_are_named(self):
        with pytest.raises(UserError, match="Fold 3 has speakers in two of train, validation and test: 2, 10"):
            Fold(3, frozenset({"1", "2", "10"}), frozenset({"10"}), frozenset({"2", "4"}))

    @pytest.mark.parametrize(("train", "test", "part"), [((), ("1",), "train"), (("1",), (), "test")])
    def test_parts_must_not_be_empty(self, train, test, part):
        with pytest.raises(UserError, match=f"no speaker to {part} on"):
            Fold(0, frozenset(train), frozenset(), frozenset(test))

    def test_validation_may_be_empty(self):
        assert Fold(0, frozenset({"1"}), frozenset(), frozenset({"2"})).validation == frozenset()
