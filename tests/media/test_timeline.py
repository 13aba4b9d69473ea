"""The mapping from presentation times to the cells of the 30-Hz grid."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.media.timeline import JITTER_S, MAX_HOLD_S, shown_cells

steps_ms = st.lists(st.integers(1, 400), min_size=0, max_size=60)


def shown(times, durations, n_cells):
    """The picture's index per cell; -1 for none."""
    cells = np.full(n_cells, -1)
    for first, count, index in shown_cells(zip(times, durations, range(len(times)), strict=True), n_cells):
        assert count >= 1
        assert (cells[first : first + count] == -1).all(), "a cell twice"
        assert first + count <= n_cells
        cells[first : first + count] = index
    return cells


@given(st.integers(-2000, 2000), steps_ms, st.integers(0, 60), st.integers(0, 300))
def test_each_cell_shows_the_last_picture_that_started_before_its_middle(start_ms, steps, n_cells, duration_ms):
    times = (start_ms + np.cumsum([0, *steps])) / 1000
    duration_s = duration_ms / 1000
    cells = shown(times, [duration_s] * len(times), n_cells)
    for cell, index in enumerate(cells):
        middle_s = (cell + 0.5) / 30
        started = np.flatnonzero(times <= middle_s + JITTER_S + 1e-9)
        if len(started) == 0:
            assert index == -1
            continue
        last = started[-1]
        over_s = middle_s - (times[last] + duration_s + MAX_HOLD_S)
        if abs(over_s + JITTER_S) > 1e-6:  # right at the limit, either is fine
            assert index == (last if over_s < -JITTER_S else -1)


@given(st.lists(st.floats(-5, 5), max_size=40), st.integers(0, 60))
def test_times_that_jump_back_are_skipped(times, n_cells):
    indices = [c for c in shown(times, [0.04] * len(times), n_cells) if c >= 0]
    assert indices == sorted(indices)
    assert all(times[b] > times[a] for a, b in pairwise(indices) if a != b)


@pytest.mark.parametrize("rounding_hz", [1000, 90_000])
@pytest.mark.parametrize(("rate_hz", "expected"), [(30, range(480)), (60, range(1, 960, 2))])
def test_the_same_pictures_are_shown_whatever_the_rounding(rate_hz, expected, rounding_hz):
    times = np.round(np.arange(16 * rate_hz) / rate_hz * rounding_hz) / rounding_hz
    assert shown(times, [1 / rate_hz] * len(times), 480).tolist() == list(expected)


def test_ntsc_repeats_one_picture_in_a_thousand():
    times = [float(k * Fraction(1001, 30_000)) for k in range(2000)]
    cells = shown(times, [1001 / 30_000] * 2000, 2000)
    assert set(np.diff(cells)) == {0, 1}
    assert (np.diff(cells) == 0).sum() == 2


def test_reads_no_further_than_needed():
    def endless():
        for k in range(1_000_000):
            assert k < 50, "read far beyond the span"
            yield k / 30, 1 / 30, k

    assert len(list(shown_cells(endless(), 30))) == 30
