from dataclasses import replace

import numpy as np
import pytest
from small_records import confusion, make_record, random_record

from liser_ray.results import metrics
from liser_ray.results.scores import (
    by_sex,
    fold_mean,
    interval,
    label_recalls,
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


def effects(seed, n_speakers, n_seeds, speakers, seeds, both, recipe="no-dstl", level=0.5, n=1000):
    """Records with a score for each speaker and seed: level + a(speaker) + b(seed) + e(speaker, seed), by deviation."""
    a = np.random.default_rng([seed, 1]).normal(0, speakers, n_speakers)  # the same speakers for all recipes
    rng = np.random.default_rng([seed, *recipe.encode()])
    b = rng.normal(0, seeds, (n_seeds, 1))
    found = level + a + b + rng.normal(0, both, (n_seeds, n_speakers))
    rights = np.clip(np.round(n * found), 0, n).astype(int)
    return [one_speaker_each(row, n=n, seed=k, recipe=recipe) for k, row in enumerate(rights.tolist())]


class TestScores:
    def test_of_all_test_speakers_together(self):
        assert pooled([TWO_FOLDS], "uar") == pytest.approx((5 / 8 + 4 / 8) / 2)
        assert pooled([TWO_FOLDS], "war") == pytest.approx(9 / 16)
        # calm: 5 right of 8, said 5 + 4 times; sad: 4 right of 8, said 3 + 4 times
        assert pooled([TWO_FOLDS], "macro_f1") == pytest.approx((10 / 17 + 8 / 15) / 2)

    def test_the_mean_of_folds_is_of_each_folds_own_labels(self):
        """In the second fold nobody is sad."""
        record = make_record({"1": confusion("1/2", "1/4")}, {"2": confusion("3/3", "0/0")})
        assert pooled([record], "uar") == pytest.approx((4 / 5 + 1 / 4) / 2)
        assert fold_mean([record], "uar") == pytest.approx(((1 / 2 + 1 / 4) / 2 + 1) / 2)
        assert fold_mean([record, replace(record, seed=1)], "war") == pytest.approx((2 / 6 + 1) / 2)

    def test_of_each_label(self):
        assert label_recalls([TWO_FOLDS]) == pytest.approx({"calm": 5 / 8, "sad": 4 / 8})
        record = make_record({"1": np.array([[3, 1, 0], [0, 0, 0], [2, 1, 1]])}, labels=("a", "b", "c"))
        assert pooled([record], "uar") == pytest.approx((3 / 4 + 1 / 4) / 2)
        np.testing.assert_allclose(list(label_recalls([record]).values()), [3 / 4, np.nan, 1 / 4])

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
        assert pooled(seeds, "uar") == pytest.approx((6 / 8 + 1 / 8) / 2)
        assert speaker_scores(seeds, "war") == pytest.approx({"0": 1 / 2, "1": 3 / 8})
        assert label_recalls(seeds) == pytest.approx({"calm": 7 / 16, "sad": 7 / 16})

    def test_what_does_not_belong_together_is_refused(self):
        record = random_record()
        for others, words in (
            ([], "no records to score"),
            ([record, record], "each seed once, not of no-dstl on ravdess with seed 0, no-dstl"),
            ([record, random_record(recipe="sp-dstl", seed=1)], "one recipe"),
            ([record, random_record(labeled="cremad", seed=1)], "not the same set"),
            ([record, random_record(labels=("x", "y"), seed=1)], r"\(x, y\) and .* not the same set and labels"),
            ([record, random_record(n_speakers=19, seed=1)], "only one of them tests 13, 14, 15, 16, 17 .... Run the"),
            ([replace(record, folds=())], "no test speakers"),
            (
                [
                    replace(random_record(seed=seed), content={"recipe": {"loss": {"lambdas": {"face": weight}}}})
                    for seed, weight in ((0, 0.1), (1, 10.0))
                ],
                r"called alike .*loss\.lambdas \{'face': 0\.1\} and \{'face': 10\.0\}",
            ),
        ):
            with pytest.raises(UserError, match=words):
                pooled(others, "uar")


class TestInterval:
    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("n_speakers", [1, 9])
    def test_equal_speakers_have_no_spread(self, metric, n_speakers):
        record = make_record({str(k): confusion("3/7", "2/3") for k in range(n_speakers)})
        found = interval([record], metric, n_draws=200)
        if n_speakers == 1:  # who says nothing of others
            assert np.isnan([found.low, found.high]).all()
            assert found.over == "speakers, of whom there is one"
            return
        assert (found.low, found.high) == pytest.approx((found.value, found.value))
        assert found.over == "speakers, one seed"

    def test_with_one_seed_its_width_is_that_of_a_mean_of_speakers(self):
        # With as many recordings each, the pooled WAR is the mean of the speakers' own.
        rights = np.random.default_rng(0).integers(0, 101, 200)
        found = interval([one_speaker_each(rights, n=100)], "war")
        error = np.std(rights / 100, ddof=1) / np.sqrt(200)
        assert found.value == pytest.approx(rights.mean() / 100)
        # A percentile at 2.5 % of 10,000 draws is good to 1.96 · √(.025 · .975 / 10,000) / .0584 = .05 deviations.
        assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.05 * error)
        assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.05 * error)

    @pytest.mark.parametrize("n_seeds", [2, 3, 5])
    def test_seeds_that_differ_make_it_wider_even_if_speakers_are_equal(self, n_seeds):
        seeds = [one_speaker_each([10 * k] * 6, n=100, seed=k) for k in range(n_seeds)]
        found = interval(seeds, "war")
        # Draws of n - 1 of n: the mean's deviation is that of the n seeds, with n - 1 below the line, over √n.
        drawn = np.random.default_rng(1).choice(0.1 * np.arange(n_seeds), (100_000, n_seeds - 1)).mean(axis=1)
        assert np.std(drawn) == pytest.approx(np.std(0.1 * np.arange(n_seeds), ddof=1) / np.sqrt(n_seeds), rel=0.01)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.011)
        assert found.over == "speakers and seeds"

    def test_seeds_do_not_hide_that_speakers_differ(self):
        seeds = [one_speaker_each([50, 0] * 10, n=50, seed=seed) for seed in range(8)]
        one, many = interval(seeds[:1], "war"), interval(seeds, "war")
        assert (many.low, many.value, many.high) == pytest.approx((one.low, one.value, one.high))

    def test_a_label_that_no_drawn_speaker_has_said_is_left_out(self):
        says_calm, says_both = np.array([[4, 0], [0, 0]]), np.array([[4, 0], [4, 0]])
        found = interval([make_record({"1": says_calm, "2": says_both})], "uar", n_draws=2000)
        # Speaker 1 alone, half of the draws: calm alone counts and is right.
        assert (found.low, found.value, found.high) == (0.5, 0.5, 1.0)

    @pytest.mark.parametrize("metric", METRICS)
    def test_it_is_a_loop_over_draws(self, metric):
        records = [random_record(n_speakers=7, labels=("a", "b", "c"), seed=seed) for seed in range(3)]
        counts = [np.stack(list(record.confusions.values())) for record in records]
        rng = np.random.default_rng(5)
        speakers = rng.multinomial(6, np.full(7, 1 / 7), size=300)
        seeds = rng.multinomial(2, np.full(3, 1 / 3), size=300)
        score = getattr(metrics, metric)
        one_by_one = [
            np.dot(n_times, [score(np.tensordot(drawn, of_seed, 1)) for of_seed in counts]) / 2
            for drawn, n_times in zip(speakers, seeds, strict=True)
        ]
        found = interval(records, metric, n_draws=300, seed=5)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(one_by_one, [2.5, 97.5])), abs=1e-12)


class TestPairedDifference:
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

    def test_seeds_of_each_recipe_are_drawn_for_themselves(self):
        # The same numbers, as if a seed meant the same in both: the difference of two trainings is not known for that.
        a, b = (
            [one_speaker_each([50 + 10 * k] * 5, n=100, seed=k, recipe=recipe) for k in range(3)]
            for recipe in ("sp-dstl", "no-dstl")
        )
        found = paired_difference(a, b, "war")
        assert found.value == 0
        assert (found.low, found.high) == pytest.approx((-0.15, 0.15), abs=0.051)
        assert paired_difference(a[:1], b, "war").n_seeds == 1

    def test_95_of_100_intervals_hold_the_truth(self):
        """Of recipes .03 apart, 24 speakers and five seeds, with deviations as measured on RAVDESS."""
        held = []
        for seed in range(200):
            a, b = (
                effects(seed, 24, 5, speakers=0.12, seeds=0.012, both=0.04, recipe=recipe, level=level)
                for recipe, level in (("sp-dstl", 0.53), ("no-dstl", 0.5))
            )
            found = paired_difference(a, b, "war", n_draws=500, seed=seed)
            held.append(found.low <= 0.03 <= found.high)
        # 200 times 95 %: 190 ± 2 · 3.1; of intervals over speakers alone, 143 of the 200 hold it.
        assert sum(held) >= 184

    def test_teachers_of_other_bases_are_no_seeds_of_one(self):
        of_bases = []
        for k in range(2):
            recipe = {"base": {"address": "here", "sha256": str(k)}, "lora": None}
            of_bases.append(replace(random_record(seed=k), content={"recipe": recipe}))
        with pytest.raises(UserError, match="base"):
            interval(of_bases, "uar")

    def test_of_other_sets_is_refused(self):
        with pytest.raises(UserError, match="not the same set"):
            paired_difference([random_record()], [random_record(labeled="cremad")], "uar")
