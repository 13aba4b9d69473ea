import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.prediction.sliding import SlidingWindow, step_samples
from liser_ray.runtime.errors import UserError
from liser_ray.student.front_end import SEGMENT_SAMPLES


@given(
    st.integers(1, 300_000),
    st.lists(st.integers(1, 100_000), min_size=1, max_size=4),
    st.sampled_from([1, 3, 8, 30, 31, 45]),
    st.sampled_from([1, 2, 64]),
)
def test_windows_are_the_same_in_pieces_of_any_size(n_samples, lengths, strides, block_windows):
    waveform = np.arange(1, n_samples + 1, dtype=np.float32)
    step = strides * 1600
    windows = SlidingWindow(step, block_windows)
    blocks, start = [], 0
    for length in np.resize([max(500, length) for length in lengths], 1 + n_samples // 500):
        blocks += windows.add(waveform[start : start + length])
        start += length
    blocks += windows.finish()
    assert all(len(block) <= SEGMENT_SAMPLES + (block_windows - 1) * step for block in blocks[:-1])
    padded = np.pad(waveform, (0, max(0, SEGMENT_SAMPLES - n_samples)))
    expected = np.lib.stride_tricks.sliding_window_view(padded, SEGMENT_SAMPLES)[::step]
    found = [np.lib.stride_tricks.sliding_window_view(block, SEGMENT_SAMPLES)[::step] for block in blocks]
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_nothing_has_no_windows():
    windows = SlidingWindow(1600, 64)
    assert windows.add(np.zeros(0, np.float32)) == []
    assert windows.finish() == []


@pytest.mark.parametrize(("step_s", "samples"), [(0.1, 1600), (0.3, 4800), (3, 48_000)])
def test_steps_are_multiples_of_the_papers(step_s, samples):
    assert step_samples(step_s) == samples


@pytest.mark.parametrize("step_s", [0, -0.1, 0.05, 0.128, float("nan"), float("inf")])
def test_other_steps_are_refused(step_s):
    with pytest.raises(UserError, match=r"multiple of 0\.1 s"):
        step_samples(step_s)
