from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.student.data import order
from liser_ray.student.data.order import EpochPlan, labeled_crops, lap_rows, step_rng

COUNTS = st.integers(0, 70)


def steps_of(plan, seed=0, epoch=1):
    return list(plan.steps(seed, epoch))


def size(step):
    return len(step.labeled) + step.n_unlabeled


def assert_a_whole_epoch(plan):
    steps = steps_of(plan)
    labeled = np.concatenate([np.empty(0, np.int64), *(step.labeled for step in steps)])
    np.testing.assert_array_equal(np.sort(labeled), np.arange(plan.n_labeled))
    assert len(steps) == plan.n_steps
    sizes = [size(step) for step in steps]
    assert max(sizes, default=0) <= plan.batch_size
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    return steps


class TestUnion:
    @given(COUNTS, COUNTS, st.integers(1, 30))
    def test_an_epoch_is_one_pass_over_both_in_batches_of_nearly_one_size(self, n_labeled, n_unlabeled, batch_size):
        plan = EpochPlan(n_labeled, n_unlabeled, batch_size)
        assert sum(step.n_unlabeled for step in assert_a_whole_epoch(plan)) == n_unlabeled
        assert plan.n_steps == -(-(n_labeled + n_unlabeled) // batch_size)

    def test_both_are_mixed_throughout(self):
        """25 of 1,000 + 3,000 at a time: about a quarter of each batch is labeled, in no fixed number."""
        shares = [len(step.labeled) / size(step) for step in steps_of(EpochPlan(1000, 3000, 25))]
        assert len(set(shares)) > 5
        assert max(shares) < 0.7
        first, last = shares[: len(shares) // 2], shares[len(shares) // 2 :]
        assert abs(np.mean(first) - np.mean(last)) < 0.05


class TestFixedShare:
    @given(st.integers(1, 70), st.integers(1, 70), st.integers(2, 30), st.data())
    def test_each_batch_has_so_many_labeled_ones_and_is_filled_up(self, n_labeled, n_unlabeled, batch_size, data):
        per_batch = data.draw(st.integers(1, batch_size - 1))
        plan = EpochPlan(n_labeled, n_unlabeled, batch_size, per_batch)
        for step in assert_a_whole_epoch(plan):
            assert step.n_unlabeled == batch_size - per_batch
            assert 1 <= len(step.labeled) <= per_batch

    @pytest.mark.parametrize("n_labeled", [0, 100])
    def test_where_there_is_one_kind_alone_batches_are_full(self, n_labeled):
        plan = EpochPlan(n_labeled, 100 - n_labeled, 25, labeled_per_batch=5)
        assert [size(step) for step in assert_a_whole_epoch(plan)] == [25] * 4


class TestEpochSteps:
    @given(COUNTS, COUNTS, st.integers(0, 8), st.integers(1, 40))
    def test_the_same_batches_cut_into_epochs_of_another_length(self, n_labeled, n_unlabeled, per_batch, epoch_steps):
        plan = EpochPlan(n_labeled, n_unlabeled, 9, per_batch)
        cut = replace(plan, epoch_steps=epoch_steps)
        if not plan.n_steps:
            return
        n_laps = 1 + 3 * epoch_steps // plan.n_steps
        laps = [step for lap in range(n_laps) for step in plan.steps(0, lap + 1)]
        epochs = [list(cut.steps(0, epoch)) for epoch in (1, 2, 3)]
        assert [len(epoch) for epoch in epochs] == [cut.n_steps] * 3 == [epoch_steps] * 3
        for one, other in zip((step for epoch in epochs for step in epoch), laps, strict=False):
            assert one[1:] == other[1:]
            assert one.labeled.tolist() == other.labeled.tolist()


class TestSeeds:
    @pytest.mark.parametrize("per_batch", [0, 10])
    def test_same_seed_and_epoch_same_batches_and_others_differ(self, per_batch):
        plan = EpochPlan(200, 300, 25, per_batch)

        def labeled(seed, epoch):
            return np.concatenate([step.labeled for step in plan.steps(seed, epoch)]).tolist()

        assert labeled(3, 1) == labeled(3, 1)
        assert len({tuple(labeled(seed, epoch)) for seed in (3, 4) for epoch in (1, 2)}) == 4

    def test_streams_of_random_numbers_are_unlike_each_other(self):
        firsts = {
            *(float(labeled_crops(1, *numbers)[0]) for numbers in product(range(3), repeat=2)),
            *(float(order.crops(1, *numbers)[0]) for numbers in product(range(3), repeat=3)),
            *(float(step_rng(0, 1, *numbers).random()) for numbers in product(range(3), repeat=2)),
        }
        assert len(firsts) == 9 + 27 + 9


class TestLap:
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 5), st.integers(0, 5))
    def test_every_row_once_and_the_same_again_for_the_same_seed(self, sizes, seed, lap):
        rows, places = lap_rows(np.array(sizes), seed, lap)
        np.testing.assert_array_equal(np.sort(rows), np.arange(sum(sizes)))
        assert np.all((places >= 0) & (places < 1))
        np.testing.assert_array_equal((rows, places), lap_rows(np.array(sizes), seed, lap))

    def test_other_laps_and_seeds_have_other_orders_and_crops(self):
        laps = [lap_rows(np.array([30, 50, 20]), seed, lap) for seed in (0, 1) for lap in (0, 1)]
        assert len({tuple(rows) for rows, _ in laps}) == 4
        assert len({tuple(np.round(places[np.argsort(rows)], 9)) for rows, places in laps}) == 4

    def test_a_small_table_is_shuffled_as_a_whole(self):
        rows, _ = lap_rows(np.full(10, 100), seed=0, lap=0)
        groups_of_first = set(rows[:100] // 100)
        assert len(groups_of_first) == 10

    @pytest.mark.parametrize("chunk", [7, 20, 64])
    def test_a_chunk_holds_the_groups_that_follow_one_another_and_no_more(self, monkeypatch, chunk):
        monkeypatch.setattr(order, "SHUFFLE_ROWS", chunk)
        sizes = np.array([12, 1, 30, 8, 13])
        rows, places = lap_rows(sizes, seed=2, lap=1)
        firsts = np.cumsum(sizes) - sizes
        groups = order.group_order(5, 2, 1)
        unshuffled = np.concatenate([firsts[g] + np.arange(sizes[g]) for g in groups])
        for start in range(0, 64, chunk):
            here = slice(start, start + chunk)
            assert sorted(rows[here]) == sorted(unshuffled[here])
        if chunk > 7:
            assert not np.array_equal(rows, unshuffled)
        for group in groups:  # a row keeps its crop wherever it comes
            in_group = (rows >= firsts[group]) & (rows < firsts[group] + sizes[group])
            by_row = places[in_group][np.argsort(rows[in_group])]
            np.testing.assert_array_equal(by_row, order.crops(int(sizes[group]), 2, 1, int(group)))
