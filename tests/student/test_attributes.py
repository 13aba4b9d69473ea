"""The loss of attributes is one minus the concordance that the scores have."""

import numpy as np
import pytest
import torch

from liser_ray.results.metrics import concordance, concordance_sums
from liser_ray.runtime.errors import UserError
from liser_ray.student.attributes import attribute_scales, concordance_loss
from liser_ray.student.config import LossConfig
from liser_ray.student.losses import Targets, loss_terms
from liser_ray.student.network import StudentLogits

NAN = float("nan")


def random(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=n))


def test_it_is_one_minus_ccc_for_each_item_that_is_known():
    outputs, values = random(8).requires_grad_(), random(8, 1)
    values[[2, 5]] = NAN
    known = ~values.isnan().numpy()
    ccc = concordance(concordance_sums(values.numpy()[known], outputs.detach().numpy()[known]))
    loss = concordance_loss(outputs, values)
    assert loss.item() == pytest.approx(6 * (1 - ccc), rel=1e-6)
    loss.backward()
    assert not outputs.grad[[2, 5]].any()
    assert outputs.grad[known].all()
    assert concordance_loss(values[known], values[known]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("values", [[], [1.0], [NAN, 2.0, NAN]])
def test_of_less_than_two_items_nothing_is_lost_and_gradients_are_there(values):
    outputs = random(len(values)).requires_grad_()
    loss = concordance_loss(outputs, torch.tensor(values))
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad.tolist() == [0] * len(values)


def test_outputs_that_are_all_the_same_have_a_finite_loss():
    outputs = torch.zeros(4, requires_grad=True)
    concordance_loss(outputs, torch.zeros(4)).backward()
    assert outputs.grad.isfinite().all()


def test_it_is_a_term_of_the_loss_of_labeled_items():
    answers, values, truth = random((5, 6)), random((3, 2), 1), torch.tensor([0, 1, 2])
    config = LossConfig(attributes={"arousal": 0.5, "valence": 2.0})
    terms = loss_terms(StudentLogits(answers, {}), Targets(truth, {}, attributes=values), config, {})
    for column, (name, weight) in enumerate(config.attributes.items()):
        expected = weight * concordance_loss(answers[:3, 4 + column], values[:, column])
        assert terms[name].item() == pytest.approx(expected.item())
    labels_alone = loss_terms(StudentLogits(answers[:, :4], {}), Targets(truth, {}), LossConfig(), {})
    assert terms["supervised"].item() == pytest.approx(labels_alone["supervised"].item())


def test_scales_are_of_training_recordings_that_are_known():
    attributes = {"arousal": np.array([1, 3, NAN, 100], np.float32), "same": np.ones(4, np.float32)}
    assert attribute_scales(attributes, ["arousal"], np.array([0, 1, 2])) == {"arousal": (2.0, 1.0)}
    for name, words in (("same", "no two training recordings"), ("valence", "a list with a column valence")):
        with pytest.raises(UserError, match=words):
            attribute_scales(attributes, [name], np.array([0, 1, 2]))
