"""A teacher's words brought to labels as frequent as they should be."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_labels import SPEECH_LABELS, write_labels

from liser_ray.student.data.alignment import aligned, alignment, mean_of_recordings, mean_of_table
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows, load_unlabeled


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 50))
def test_probabilities_stay_some_and_what_is_said_too_often_counts_less(seed, n_labels, n):
    rng = np.random.default_rng(seed)
    said = rng.dirichlet(rng.uniform(0.05, 2, n_labels), n).astype(np.float32)
    mean, wanted = said.mean(axis=0), rng.dirichlet(np.ones(n_labels))
    factors = alignment(mean, wanted)
    assert (factors <= 10).all()
    found = aligned(torch.from_numpy(said), factors).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    one, other = rng.permutation(n_labels)[:2]
    if 10 * min(mean[one] / wanted[one], mean[other] / wanted[other]) > 1.001:  # neither is at the limit
        odds = found[:, one] * said[:, other] * mean[one] * wanted[other]
        expected = found[:, other] * said[:, one] * mean[other] * wanted[one]
        np.testing.assert_allclose(odds, expected, rtol=1e-3, atol=1e-9)


def test_a_teacher_that_is_wrong_in_one_direction_is_right_again():
    truth = np.array([0, 1] * 50)
    said = np.where(truth[:, None] == np.arange(2), 0.6, 0.4) * np.array([5.0, 1.0])
    said = (said / said.sum(axis=1, keepdims=True)).astype(np.float32)
    assert (said.argmax(axis=1) == 0).all()
    found = aligned(torch.from_numpy(said), alignment(said.mean(axis=0), np.array([0.5, 0.5])))
    assert (found.argmax(dim=1).numpy() == truth).all()


def test_labels_that_nobody_says_and_rows_that_say_nothing_stay_so():
    said = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    found = aligned(torch.from_numpy(said), alignment(said[0], np.array([0.5, 0.5])))
    assert found.tolist() == said.tolist()
    assert alignment(np.zeros(2), np.array([1.0, 0.0])).tolist() == [10.0, 0.0]


def test_the_mean_is_of_the_windows_that_count_of_these_recordings(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    counted = np.array([True, False, True, True, True, True])
    windows = TargetWindows(values, counted, np.array([2, 3, 3, 6]), 24_000, 24_000)
    assert mean_of_recordings(windows, np.array([0, 2, 3])).tolist() == values[[0, 3, 4, 5]].mean(axis=0).tolist()
    assert mean_of_recordings(windows, np.array([2])).tolist() == [0, 0]
    write_labels(tmp_path)
    table, settings = open_labels_table(str(tmp_path)), SegmentSettings(SPEECH_LABELS)
    target = table.targets["fold-0"]
    held = load_unlabeled(table, [target], settings, torch.device("cpu"), lambda done: None)
    np.testing.assert_allclose(
        mean_of_table(table, target, settings), mean_of_recordings(held.windows[target.name], np.arange(table.n_rows))
    )
