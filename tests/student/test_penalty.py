"""What confusions cost, by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from liser_ray.student.config import LossConfig
from liser_ray.student.losses import SetLabels, Targets, loss_terms
from liser_ray.student.network import StudentLogits
from liser_ray.student.penalty import confusion_costs, penalty_losses

VOTES = np.array([[3, 1, 0], [2, 0, 0], [0, 5, 1], [0, 1, 0], [4, 4, 0], [0, 0, 0]])
COSTS = np.array([[0, 1 - 2 / 3, 1], [1 - 2 / 4, 0, 1 - 1 / 4], [1, 0, 0]], np.float32)


def test_costs_by_hand():
    """Label 0 has votes in three recordings, in two of them beside 1; nobody was asked about the last one."""
    np.testing.assert_allclose(confusion_costs(VOTES), COSTS)
    assert confusion_costs(np.zeros((2, 3))).tolist() == (1 - np.eye(3)).tolist()


@given(arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(2, 5)), elements=st.integers(0, 3)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_costs_are_0_to_1_and_nothing_for_the_right_label(votes):
    costs = confusion_costs(votes)
    assert (costs >= 0).all()
    assert (costs <= 1).all()
    assert not np.diagonal(costs).any()
    np.testing.assert_array_equal(confusion_costs(np.flip(votes, axis=1)), np.flip(costs))  # labels in another order
    np.testing.assert_array_equal(confusion_costs(7 * votes), costs)


@pytest.mark.parametrize(
    ("truth", "right"),
    [
        (torch.tensor([2]), [0, 0, 1]),
        (torch.tensor([[0.0, 0.0, 1.0]]), [0, 0, 1]),
        (torch.tensor([[1.0, 1.0, 0.0]]), [0.5, 0.5, 0]),  # several labels
        (torch.tensor([[0.25, 0.0, 0.75]]), [0.25, 0, 0.75]),
    ],
)
def test_the_loss_by_hand_of_a_label_of_several_and_of_a_distribution(truth, right):
    logits = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64).log().requires_grad_()  # softmax 1/2, 1/4, 1/4
    loss = penalty_losses(logits, truth.double() if truth.ndim == 2 else truth, torch.from_numpy(COSTS))
    assert loss.tolist() == pytest.approx(np.array(right) @ COSTS @ [0.5, 0.25, 0.25])
    loss.sum().backward()
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_it_is_a_term_of_the_loss_of_labeled_items_among_the_labels_of_their_set():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(4, 3)))
    truth, sizes = torch.tensor([0, 2, 1]), (2, 1)  # then an unlabeled item
    weights, costs = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64), torch.from_numpy(COSTS).double()
    places = torch.tensor([1, 2])
    sets = [
        SetLabels(torch.arange(3), weights, weights[:, None] * costs),
        SetLabels(places, weights[:2], costs[places][:, places]),
    ]
    terms = loss_terms(StudentLogits(logits, {}), Targets(truth, {}, sizes), LossConfig(penalty=0.5), {}, sets)
    first = logits[:2].softmax(dim=1)
    expected = 0.5 * (costs[0] @ first[0] + 2 * costs[2] @ first[1] + costs[1, 2] * logits[2, 1:].softmax(dim=0)[1])
    assert terms["penalty"].item() == pytest.approx(expected.item())
    assert list(terms) == ["supervised", "penalty"]
    none = loss_terms(StudentLogits(logits, {}), Targets(truth[:0], {}, (0, 0)), LossConfig(penalty=0.5), {}, sets)
    assert none["penalty"].item() == 0
