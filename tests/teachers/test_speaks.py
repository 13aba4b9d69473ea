"""Whether a face is heard: mouth motion against sound, however the head moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_teachers import s2d_networks
from talking_points import loudness, n_samples, points_of, sound_of

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import speaks
from liser_ray.teachers.s2d import S2DConfig
from liser_ray.teachers.speaks import AROUND_CELLS, judge
from liser_ray.teachers.weights import save_checkpoint

N_WINDOWS = 30
ALL = np.ones(N_WINDOWS, bool)
SPOKEN = np.array([[0, n_samples(16 * N_WINDOWS)]])


def correlations(heard: int, seen: int, lag_cells: int = 0, **head) -> np.ndarray:
    """Of all windows: the sound of one seed under the mouth of another, so much later."""
    sound = sound_of(np.roll(loudness(heard, 16 * N_WINDOWS), lag_cells))
    found = judge(points_of(loudness(seen, 16 * N_WINDOWS), **head), ALL, sound, SPOKEN)
    assert found.known.all()
    return found.correlation


def test_a_speaker_is_told_from_one_under_whom_another_is_heard():
    right, wrong = correlations(1, 1), correlations(2, 1)
    assert right.min() > 0.7
    assert np.median(wrong) < 0.4


@pytest.mark.parametrize(("lag_cells", "goes_together"), [(-5, True), (5, True), (15, False)])
def test_sound_may_be_a_fifth_of_a_second_off(lag_cells, goes_together):
    assert (np.median(correlations(1, 1, lag_cells)) > 0.7) == goes_together


def test_motion_and_size_of_the_head_count_for_nothing():
    np.testing.assert_allclose(correlations(1, 1, head_seed=3), correlations(1, 1), atol=1e-3)


def test_lips_that_keep_still_go_together_with_nothing():
    found = judge(points_of(np.zeros(16 * N_WINDOWS), head_seed=3), ALL, sound_of(loudness(1, 480)), SPOKEN)
    assert found.known.all()
    assert np.abs(found.correlation).max() < 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), max_size=14), st.integers(0, 14))
def test_a_window_is_judged_where_two_seconds_of_face_and_speech_are_around_it(whole, spoken_windows):
    whole = np.array(whole, bool)
    cells = 16 * len(whole)
    sound = sound_of(loudness(1, max(1, cells)))[: n_samples(cells)]
    speech = np.array([[0, n_samples(min(16 * spoken_windows, cells))]])
    points = points_of(loudness(1, max(1, cells)))[: len(whole)]
    points[~whole] = np.nan
    found = judge(points, whole, sound, speech)
    assert np.isfinite(found.correlation).all()
    assert not found.correlation[~found.known].any()
    for window, known in enumerate(found.known):
        first, last = window, window
        while first > 0 and whole[first - 1]:
            first -= 1
        while last < len(whole) and whole[last]:
            last += 1
        shown = whole[window] and (last - first) * 16 >= AROUND_CELLS
        start = np.clip(16 * window + 8 - AROUND_CELLS // 2, 16 * first, max(16 * first, 16 * last - AROUND_CELLS))
        spoken = 16 * spoken_windows - start >= AROUND_CELLS / 2
        assert known == (shown and spoken)


def test_its_weights_are_those_of_the_landmark_network(tmp_path):
    _, landmarks = s2d_networks(S2DConfig(embed_dim=64, depth=1, heads=1))
    save_checkpoint(tmp_path / "landmarks.safetensors", landmarks.state_dict())
    options = speaks.Options(str(tmp_path / "landmarks.safetensors"))
    teacher = speaks.load("speaks", options, torch.device("cpu"), "bfloat16")
    clips = np.zeros((2, 1, 32, 32, 3), np.uint8)
    assert teacher(clips)["speaks"].values.shape == (2, 68 * 2)
    (target,) = teacher.targets
    stricter = speaks.load("speaks", replace(options, threshold=0.3), torch.device("cpu"), "float32")
    assert stricter.targets[0].sha256 != target.sha256  # or a job would go on with rows of both
    assert (target.kind, target.labels, target.tuned_on.heard) == ("scalar", ("correlation",), ())


@pytest.mark.parametrize("options", [{"threshold": 2}, {"weights": ""}])
def test_what_is_missing_or_wrong_is_said(options):
    with pytest.raises(UserError, match=r"threshold|landmark network"):
        speaks.load("speaks", speaks.Options(**options), torch.device("cpu"), "float32")
