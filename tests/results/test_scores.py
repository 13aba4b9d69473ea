from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_records import confusion, make_record, random_record

from liser_ray.results import metrics, scores
from liser_ray.results.scores import (
    by_sex,
    interval,
    label_recalls,
    mean_over_folds,
    of_speakers,
    paired_difference,
    pooled,
    speaker_scores,
)
from liser_ray.runtime.errors import UserError

METRICS = ("uar", "war", "macro_f1")

# Three speakers in two folds. All together: calm 5 of 8 right, sad 4 of 8.
TWO_FOLDS = make_record(
    {"10": confusion("4/4", "1/2"), "2": confusion("1/2", "1/4")},
    {"1": confusion("0/2", "2/2")},
    sexes={"1": "man", "2": "woman", "10": "woman"},
)


def one_speaker_each(rights, n=4, **named):
    """Speakers "0", "1", ... with so many of n recordings of each label right."""
    return make_record({str(k): confusion(f"{right}/{n}", f"{right}/{n}") for k, right in enumerate(rights)}, **named)


class TestScores:
    def test_of_all_test_speakers_together(self):
        assert pooled([TWO_FOLDS], "uar") == pytest.approx((5 / 8 + 4 / 8) / 2)
        assert pooled([TWO_FOLDS], "war") == pytest.approx(9 / 16)
        # calm: 5 right of 8, said 5 + 4 times; sad: 4 right of 8, said 3 + 4 times
        assert pooled([TWO_FOLDS], "macro_f1") == pytest.approx((10 / 17 + 8 / 15) / 2)

    def test_mean_over_folds_counts_each_fold_alike(self):
        assert mean_over_folds([TWO_FOLDS], "uar") == pytest.approx(((5 / 6 + 2 / 6) / 2 + 2 / 4) / 2)
        assert mean_over_folds([TWO_FOLDS], "war") == pytest.approx((7 / 12 + 2 / 4) / 2)

    def test_of_each_label(self):
        assert label_recalls([TWO_FOLDS]) == pytest.approx({"calm": 5 / 8, "sad": 4 / 8})

    def test_of_each_speaker_in_natural_order(self):
        found = speaker_scores([TWO_FOLDS], "uar")
        assert list(found) == ["1", "2", "10"]
        assert found == pytest.approx({"1": 1 / 2, "2": (1 / 2 + 1 / 4) / 2, "10": (1 + 1 / 2) / 2})

    def test_of_each_sex(self):
        parts = by_sex([TWO_FOLDS])
        assert pooled(parts["man"], "uar") == pytest.approx(1 / 2)
        assert pooled(parts["woman"], "uar") == pytest.approx((5 / 6 + 2 / 6) / 2)
        assert [one.fold for one in parts["man"][0].folds] == [1]
        assert by_sex([replace(TWO_FOLDS, sexes={})]) == {}
        assert list(by_sex([replace(TWO_FOLDS, sexes={"2": "woman"})])) == ["woman"]

    def test_means_over_seeds(self):
        seeds = [one_speaker_each([4, 2], seed=0), one_speaker_each([0, 1], seed=1)]
        for score in (pooled, mean_over_folds):
            assert score(seeds, "uar") == pytest.approx((6 / 8 + 1 / 8) / 2)
        assert speaker_scores(seeds, "war") == pytest.approx({"0": 1 / 2, "1": 3 / 8})
        assert label_recalls(seeds) == pytest.approx({"calm": 7 / 16, "sad": 7 / 16})

    @pytest.mark.parametrize("metric", METRICS)
    def test_they_are_those_of_the_metrics(self, metric):
        record = random_record(labels=("a", "b", "c", "d"))
        total = np.sum(list(record.confusions.values()), axis=0)
        assert pooled([record], metric) == pytest.approx(getattr(metrics, metric)(total), abs=1e-12)

    def test_labels_that_nobody_said_are_no_part_of_it(self):
        record = make_record({"1": np.array([[3, 1, 0], [0, 0, 0], [2, 1, 1]])}, labels=("a", "b", "c"))
        assert pooled([record], "uar") == pytest.approx((3 / 4 + 1 / 4) / 2)
        np.testing.assert_allclose(list(label_recalls([record]).values()), [3 / 4, np.nan, 1 / 4])

    def test_what_does_not_belong_together_is_refused(self):
        record = random_record()
        for others, words in (
            ([], "no records to score"),
            ([record, record], "each seed once, not of no-dstl on ravdess with seed 0, no-dstl"),
            ([record, random_record(recipe="sp-dstl", seed=1)], "one recipe"),
            ([record, random_record(labeled="cremad", seed=1)], "not the same set"),
            ([record, random_record(labels=("x", "y"), seed=1)], r"\(x, y\) and .* not the same set and labels"),
            ([record, random_record(n_speakers=14, seed=1)], "only one of them tests 13, 14. Run the folds"),
            ([replace(record, folds=())], "no test speakers"),
        ):
            with pytest.raises(UserError, match=words):
                pooled(others, "uar")


class TestInterval:
    @pytest.mark.parametrize("metric", METRICS)
    def test_equal_speakers_have_no_spread(self, metric):
        record = make_record({str(k): confusion("3/7", "2/3") for k in range(9)})
        found = interval([record], metric, n_draws=200)
        assert found.low == found.value == found.high

    def test_one_speaker_has_no_spread(self):
        found = interval([one_speaker_each([3])], "uar", n_draws=50)
        assert (found.low, found.value, found.high) == (0.75, 0.75, 0.75)

    def test_its_width_is_that_of_a_mean_of_speakers(self):
        # With as many recordings each, the pooled WAR is the mean of the speakers' own.
        rng = np.random.default_rng(0)
        rights = rng.integers(0, 101, 200)
        found = interval([one_speaker_each(rights, n=100)], "war")
        error = np.std(rights / 100) / np.sqrt(200)
        assert found.value == pytest.approx(rights.mean() / 100)
        assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.05 * error)
        assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.05 * error)

    def test_speakers_are_drawn_not_recordings(self):
        # Half of the speakers are always right: drawn recordings would give ±.02.
        found = interval([one_speaker_each([50, 0] * 10, n=50)], "war")
        assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(20), rel=0.1)

    def test_seeds_do_not_hide_that_speakers_differ(self):
        seeds = [one_speaker_each([50, 0] * 10, n=50, seed=seed) for seed in range(8)]
        one, many = interval(seeds[:1], "war"), interval(seeds, "war")
        assert (many.low, many.value, many.high) == pytest.approx((one.low, one.value, one.high))

    def test_seeds_whose_speakers_differ_the_other_way_cancel(self):
        seeds = [one_speaker_each(rights, seed=seed) for seed, rights in enumerate(([4, 0] * 5, [0, 4] * 5))]
        found = interval(seeds, "war", n_draws=500)
        assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))

    def test_a_label_that_no_drawn_speaker_has_said_is_left_out(self):
        says_calm, says_both = np.array([[4, 0], [0, 0]]), np.array([[4, 0], [4, 0]])
        found = interval([make_record({"1": says_calm, "2": says_both})], "uar", n_draws=2000)
        # Speaker 1 twice, a quarter of the draws: calm alone counts and is right.
        assert (found.low, found.value, found.high) == (0.5, 0.5, 1.0)

    @pytest.mark.parametrize("metric", METRICS)
    def test_it_is_a_loop_over_draws(self, metric):
        record = random_record(n_speakers=7, labels=("a", "b", "c"))
        counts = np.stack(list(record.confusions.values()))
        draws = np.random.default_rng(5).multinomial(7, np.full(7, 1 / 7), size=300)
        one_by_one = [getattr(metrics, metric)(np.tensordot(draw, counts, 1)) for draw in draws]
        found = interval([record], metric, n_draws=300, seed=5)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(one_by_one, [2.5, 97.5])), abs=1e-12)

    def test_pieces_make_no_difference(self, monkeypatch):
        records = [random_record(seed=seed) for seed in range(3)]
        whole = interval(records, "uar", n_draws=101), paired_difference(records[:1], records[1:2], "uar", n_draws=101)
        monkeypatch.setattr(scores, "_CHUNK", 40)
        assert whole == (
            interval(records, "uar", n_draws=101),
            paired_difference(records[:1], records[1:2], "uar", n_draws=101),
        )

    @given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 3), st.sampled_from(METRICS))
    @settings(max_examples=30, deadline=None)
    def test_it_lies_within_0_and_1_in_order(self, seed, n_speakers, n_seeds, metric):
        records = [random_record(n_speakers, seed=seed + k, labels=("a", "b", "c"), n_takes=2) for k in range(n_seeds)]
        found = interval(records, metric, n_draws=100, seed=seed)
        assert 0 <= found.low <= found.high <= 1
        assert 0 <= found.value <= 1


class TestPairedDifference:
    @pytest.mark.parametrize("metric", METRICS)
    def test_with_itself_is_exactly_nothing(self, metric):
        records = [random_record(seed=seed) for seed in range(2)]
        found = paired_difference(records, records, metric, n_draws=100)
        assert (found.low, found.value, found.high) == (0, 0, 0)

    def test_is_the_mean_over_speakers(self):
        a = one_speaker_each([4, 3, 0], recipe="sp-dstl")
        b = one_speaker_each([2, 3, 1])
        assert paired_difference([a], [b], "uar").value == pytest.approx((2 + 0 - 1) / 12)
        assert paired_difference([b], [a], "uar").value == pytest.approx(-1 / 12)

    def test_what_speakers_have_in_common_is_taken_out(self):
        # Speakers differ by far more than the recipes do, which differ by one recording of each.
        rights = np.arange(20) * 5
        a, b = one_speaker_each(rights + 1, n=100, recipe="sp-dstl"), one_speaker_each(rights, n=100)
        found = paired_difference([a], [b], "war", n_draws=500)
        assert (found.low, found.value, found.high) == pytest.approx((0.01, 0.01, 0.01))
        assert interval([a], "war").low < interval([b], "war").value

    def test_its_width_is_that_of_a_mean_of_differences(self):
        rng = np.random.default_rng(1)
        a, b = rng.integers(30, 91, 150), rng.integers(20, 81, 150)
        found = paired_difference(
            [one_speaker_each(a, n=100, recipe="sp-dstl")], [one_speaker_each(b, n=100)], "macro_f1"
        )
        # With as many right of each label, F1 is the share that is right.
        error = np.std((a - b) / 100) / np.sqrt(150)
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)

    def test_seeds_may_be_others(self):
        a = [one_speaker_each([3, 3], recipe="sp-dstl", seed=seed) for seed in (1, 2, 3)]
        b = [one_speaker_each([2, 2], seed=0), one_speaker_each([0, 0], seed=5)]
        assert paired_difference(a, b, "war", n_draws=50).value == pytest.approx(3 / 4 - 1 / 4)

    def test_other_sets_labels_and_speakers_are_refused(self):
        record = random_record()
        for other, words in (
            (random_record(labeled="cremad"), "not the same set"),
            (random_record(labels=("x", "y")), "not the same set and labels"),
            (of_speakers(record, {"1", "2"}), "test different speakers: only one of them tests 10, 11, 12, 3, 4 ..."),
        ):
            with pytest.raises(UserError, match=words):
                paired_difference([record], [other], "uar")
