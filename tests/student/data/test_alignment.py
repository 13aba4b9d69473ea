"""A teacher's words brought to labels as frequent as they should be."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.student.data.alignment import aligned, alignment


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 50))
def test_probabilities_stay_some_and_what_is_said_too_often_counts_less(seed, n_labels, n):
    rng = np.random.default_rng(seed)
    said = rng.dirichlet(rng.uniform(0.05, 2, n_labels), n).astype(np.float32)
    factors = alignment(said, np.full(n_labels, 1 / n_labels))
    found = aligned(torch.from_numpy(said), factors).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    often, seldom = said.mean(axis=0).argmax(), said.mean(axis=0).argmin()
    before, after = (of[:, often] * (said[:, seldom] > 1e-6) for of in (said, found))
    assert (after <= before + 1e-5).all()
    odds = found[:, often] * said[:, seldom] * said[:, often].mean()
    np.testing.assert_allclose(odds, found[:, seldom] * said[:, often] * said[:, seldom].mean(), rtol=1e-3, atol=1e-9)


def test_a_teacher_that_is_wrong_in_one_direction_is_right_again():
    truth = np.array([0, 1] * 50)
    said = np.where(truth[:, None] == np.arange(2), 0.6, 0.4) * np.array([5.0, 1.0])
    said = (said / said.sum(axis=1, keepdims=True)).astype(np.float32)
    assert (said.argmax(axis=1) == 0).all()
    found = aligned(torch.from_numpy(said), alignment(said, np.array([0.5, 0.5])))
    assert (found.argmax(dim=1).numpy() == truth).all()


def test_labels_that_nobody_says_and_rows_that_say_nothing_stay_so():
    said = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    found = aligned(torch.from_numpy(said), alignment(said[:1], np.array([0.5, 0.5])))
    assert found.tolist() == said.tolist()
