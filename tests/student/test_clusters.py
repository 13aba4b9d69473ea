import numpy as np
import torch
from torch import nn

from liser_ray.student.clusters import begin_anew, cluster, encoded


def test_groups_that_lie_apart_are_found_and_the_same_seed_finds_the_same():
    rng = np.random.default_rng(0)
    group = rng.integers(4, size=500)
    vectors = (10 * np.eye(4)[group] + rng.normal(size=(500, 4))).astype(np.float32)
    found = cluster(vectors, 4, seed=3)
    assert found.dtype == np.int64
    assert len({*zip(group.tolist(), found.tolist(), strict=True)}) == 4  # one cluster for each group
    np.testing.assert_array_equal(cluster(vectors, 4, seed=3), found)


def test_vectors_come_in_the_order_of_the_recordings():
    rows = np.random.default_rng(0).permutation(700)
    found = encoded(lambda segments: segments * 2, lambda some: torch.from_numpy(some)[:, None], rows)
    np.testing.assert_array_equal(found[:, 0], 2 * rows)


def test_a_head_begins_anew_as_its_seed_says_and_nothing_else_is_drawn():
    head = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    begin_anew(head, 1)
    assert torch.equal(torch.rand(3), expected)
    first = [one.clone() for one in head.parameters()]
    begin_anew(head, 2)
    assert not any(torch.equal(one, other) for one, other in zip(head.parameters(), first, strict=True))
    begin_anew(head, 1)
    assert all(torch.equal(one, other) for one, other in zip(head.parameters(), first, strict=True))
