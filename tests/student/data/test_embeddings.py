"""Embeddings as a small student learns them: the principal components of what it may know."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from small_labels import FACE, write_labels

from liser_ray.student.data import embeddings
from liser_ray.student.data.embeddings import fit_reduction, recordings_embeddings, table_embeddings
from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows

CPU = torch.device("cpu")


def drawn(n, size, seed=0):
    """Some directions vary more than others."""
    rng = np.random.default_rng(seed)
    return rng.normal(3, 1, size) + rng.normal(size=(n, size)) @ np.diag(np.linspace(2, 0.5, size)) @ rng.normal(
        size=(size, size)
    )


@pytest.mark.parametrize("size", [1, 3, 6, 20])
def test_it_is_what_scikit_learn_finds(size):
    values = drawn(50, 6)
    reduce = fit_reduction(values, size, CPU)
    expected = PCA(min(size, 6)).fit_transform(values)
    found = reduce(torch.from_numpy(values.astype(np.float32))).numpy()
    signs = np.sign((found * expected).sum(axis=0))  # of an axis its opposite is as good
    np.testing.assert_allclose(found, expected * signs, rtol=1e-3, atol=1e-4)


def test_opposite_axes_are_not_left_to_chance():
    axes = fit_reduction(drawn(50, 6), 6, CPU).axes
    assert (axes[axes.abs().argmax(dim=0), torch.arange(6)] > 0).all()
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-6)


def test_fewer_embeddings_than_dimensions_will_do():
    reduce = fit_reduction(drawn(2, 6), 4, CPU)
    assert torch.isfinite(reduce(torch.ones(3, 6))).all()
    assert reduce(torch.ones(3, 6)).shape == (3, 4)


def test_only_windows_that_count_of_recordings_that_train():
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    counted = np.array([True, False, True, True, True, True])
    windows = TargetWindows(values, counted, np.array([2, 2, 5, 6]), 0, 0)
    assert recordings_embeddings(windows, np.array([0, 1, 3]))[:, 0].tolist() == [0, 10]
    assert recordings_embeddings(windows, np.array([2]))[:, 0].tolist() == [4, 6, 8]
    assert recordings_embeddings(windows, np.array([1])).shape == (0, 2)


def test_of_many_windows_some_will_do(tmp_path, monkeypatch):
    """Spread over a labeled set; of a table whole row groups in random order."""
    values = np.arange(100, dtype=np.float32)[:, None]
    windows = TargetWindows(values, np.ones(100, bool), np.arange(1, 101), 0, 0)
    face = replace(FACE, embedding_size=3)
    written = write_labels(tmp_path, rows=60, targets=(face,), rows_per_group=5)
    table, settings = open_labels_table(str(tmp_path)), SegmentSettings(("happy", "sad"))
    everything = table_embeddings(table, face.of_embedding(), settings)
    valid = np.concatenate([row["embedding"]["face"][row["valid"]["face"] >= 0.5] for row in written])
    assert everything.dtype == np.float16
    assert sorted(everything.tolist()) == sorted(valid.tolist())
    monkeypatch.setattr(embeddings, "_MOST_WINDOWS", 40)
    assert recordings_embeddings(windows, np.arange(100))[:, 0].tolist() == [*range(0, 100, 3)]
    some = table_embeddings(table, face.of_embedding(), settings)
    assert 40 <= len(some) < len(everything)
    assert some.tolist() == everything[: len(some)].tolist()
