import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.labeling.page.histogram import Histogram

values = st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=200)


def test_values_are_counted_in_the_bin_that_begins_with_them():
    histogram = Histogram(np.array([0.0, 0.5, 1.0]))
    histogram.add(np.array([0.0, 0.49, 0.5, 1.0]))
    assert histogram.counts.tolist() == [2, 2]


@given(values)
def test_what_lies_outside_counts_in_the_nearest_bin(values):
    histogram = Histogram(np.linspace(0, 1, 11))
    histogram.add(np.array(values))
    inside = np.clip(values, 0, 1)
    assert histogram.counts.tolist() == np.histogram(inside, histogram.edges)[0].tolist()
    assert histogram.n == len(values)


@given(values)
def test_a_median_is_off_by_less_than_a_bin(values):
    histogram = Histogram(np.linspace(-0.5, 1.5, 41))
    histogram.add(np.array(values))
    low, high = np.quantile(values, 0.5, method="lower"), np.quantile(values, 0.5, method="higher")
    assert low - 0.05 - 1e-9 <= histogram.median <= high + 0.05 + 1e-9


def test_a_median_of_nothing_is_not_known():
    assert np.isnan(Histogram(np.linspace(0, 1, 11)).median)


def test_values_that_are_all_equal_have_their_bin_as_median():
    histogram = Histogram(np.linspace(0, 1, 11))
    histogram.add(np.full(7, 0.95))
    assert histogram.median == pytest.approx(0.95)
