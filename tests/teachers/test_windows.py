"""Sound cut into windows, with more around them or not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.teachers.windows import sound_windows

N = 8000


def test_windows_of_half_a_second():
    pcm = np.arange(2 * N + 100).astype(np.int16)
    windows, start_s = sound_windows(pcm, 0.5, 0.5)
    assert windows.shape == (2, N)
    assert windows.dtype == start_s.dtype == np.float32
    assert start_s.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal((windows[1] * 32768).astype(np.int16), pcm[N : 2 * N])


def test_short_sound_is_one_padded_window():
    windows, start_s = sound_windows(np.full(100, -32768, np.int16), 0.5, 0.5)
    assert windows.shape == (1, N)
    assert start_s.tolist() == [0.0]
    assert (windows[0, :100] == -1).all()
    assert not windows[0, 100:].any()
    assert sound_windows(np.zeros(0, np.int16), 0.5, 0.5)[0].shape == (0, N)
    assert sound_windows(np.zeros(0, np.int16), 0.5, 0.5, 3.0)[0].shape == (0, 6 * N)


def test_what_is_heard_is_around_the_middle_and_moves_inward_at_the_ends():
    pcm = np.arange(10 * N, dtype=np.int32).astype(np.int16)
    heard, start_s = sound_windows(pcm, 0.5, 0.5, 1.5)
    assert heard.shape == (10, 3 * N)
    assert start_s.tolist() == [0.5 * k for k in range(10)]
    firsts = [0, 0, N, 2 * N, 3 * N, 4 * N, 5 * N, 6 * N, 7 * N, 7 * N]
    for one, first in zip(heard, firsts, strict=True):
        np.testing.assert_array_equal((one * 32768).astype(np.int16), pcm[first : first + 3 * N])


def test_zeros_only_where_there_is_less_sound_than_is_heard():
    heard, start_s = sound_windows(np.full(2 * N, 100, np.int16), 0.5, 0.5, 3.0)
    assert heard.shape == (2, 6 * N)
    assert start_s.tolist() == [0.0, 0.5]
    for one in heard:
        assert np.count_nonzero(one) == 2 * N
        assert one[: 2 * N].all()


@given(
    n=st.integers(0, 70_000),
    window_s=st.sampled_from([0.5, 1.0]),
    hop_s=st.sampled_from([0.25, 0.5]),
    hears_s=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_every_window_hears_itself(n: int, window_s: float, hop_s: float, hears_s: float):
    pcm = (1 + np.arange(n) % 30_000).astype(np.int16)
    heard, start_s = sound_windows(pcm, window_s, hop_s, hears_s)
    window, hop, hears = (round(16_000 * seconds) for seconds in (window_s, hop_s, hears_s))
    assert heard.shape == (len(range(0, max(1, n - window + 1), hop)) if n else 0, max(window, hears))
    for k, one in enumerate(heard):
        assert start_s[k] == k * hop_s
        own = pcm[k * hop : k * hop + window].astype(np.float32) / 32768
        assert any(np.array_equal(one[at : at + len(own)], own) for at in np.flatnonzero(one == own[0]))
