"""The losses of distillation, against what is written out here with Python's numbers, item by item."""

import math

import numpy as np
import pytest
import torch
from small_logits import random_logits, softmaxes

from liser_ray.teachers.temperature import with_temperature
from liser_ray.training.distillation import (
    at_temperature,
    embedding_distillation,
    kl_distillation,
    logit_distillation,
)

TEMPERATURES = (0.5, 1.0, 3.0)
JUNK = (0.0, math.nan, math.inf)


def softmax(logits, temperature):
    powers = [math.exp(one / temperature) for one in logits]
    return [one / sum(powers) for one in powers]


def all_valid(n):
    return torch.ones(n, dtype=torch.bool)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_logits_by_hand(temperature, squared):
    """The divergence Σ t log(t / p), and its gradient (p - t) / τ."""
    logits, teacher = random_logits(6, 5, 1), softmaxes(6, 5, 2)
    losses = logit_distillation(logits, teacher, all_valid(6), temperature, squared)
    losses.sum().backward()
    factor = temperature**2 if squared else 1
    rows = zip(losses.tolist(), logits.grad.tolist(), logits.tolist(), teacher.tolist(), strict=True)
    for loss, gradient, row, said in rows:
        t, p = softmax([math.log(one) for one in said], temperature), softmax(row, temperature)
        assert loss == pytest.approx(factor * sum(a * math.log(a / b) for a, b in zip(t, p, strict=True)), rel=1e-12)
        expected = [factor * (b - a) / temperature for a, b in zip(t, p, strict=True)]
        assert gradient == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_embeddings_by_hand():
    """The negative cosine, and its gradient -(e / |e| - cos · p / |p|) / |p|."""
    projected, embedding = random_logits(6, 5, 3), random_logits(6, 5, 4).detach()
    losses = embedding_distillation(projected, embedding, all_valid(6))
    losses.sum().backward()
    for loss, gradient, p, e in zip(losses.tolist(), projected.grad, projected, embedding, strict=True):
        long_p, long_e = (math.sqrt(sum(one**2 for one in row.tolist())) for row in (p, e))
        cosine = sum(a * b for a, b in zip(p.tolist(), e.tolist(), strict=True)) / (long_p * long_e)
        assert loss == pytest.approx(-cosine, rel=1e-12)
        expected = [-(b / long_e - cosine * a / long_p) / long_p for a, b in zip(p.tolist(), e.tolist(), strict=True)]
        assert gradient.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_two_teachers_are_equalled_at_minus_2():
    """L_emb is the sum over both, however long the vectors are."""
    teachers = [random_logits(4, size, seed).detach() for size, seed in ((5, 5), (9, 6))]
    total = sum(embedding_distillation(3 * one, one, all_valid(4)) for one in teachers)
    assert total.tolist() == pytest.approx([-2.0] * 4, rel=1e-12)
    opposite = sum(embedding_distillation(-one, one, all_valid(4)) for one in teachers)
    assert opposite.tolist() == pytest.approx([2.0] * 4, rel=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_teachers_own_logits_lose_nothing_at_any_temperature(temperature):
    teacher = softmaxes(4, 6, 7)
    own = (teacher.log() + 5).requires_grad_()
    losses = logit_distillation(own, teacher, all_valid(4), temperature)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.0] * 4, abs=1e-12)
    assert own.grad.abs().max() < 1e-12


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_where_the_teacher_says_nothing_loss_and_gradient_are_exactly_0(junk, temperature):
    valid = torch.tensor([True, False, True, False])
    teachers = softmaxes(4, 5, 8), random_logits(4, 5, 9).detach()
    for of, teacher in zip((logit_distillation, embedding_distillation), teachers, strict=True):
        given = (temperature,) if of is logit_distillation else ()
        outputs, alone = random_logits(4, 5, 10), random_logits(4, 5, 10)
        losses = of(outputs, torch.where(valid[:, None], teacher, junk), valid, *given)
        losses.sum().backward()
        of(alone[valid], teacher[valid], all_valid(2), *given).sum().backward()
        assert not losses[~valid].any()
        assert not outputs.grad[~valid].any()
        assert torch.equal(outputs.grad[valid], alone.grad[valid])


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_numeric_gradients(temperature):
    valid, teacher, embedding = torch.tensor([True, False, True]), softmaxes(3, 4, 11), random_logits(3, 4, 12).detach()
    assert torch.autograd.gradcheck(
        lambda one: logit_distillation(one, teacher, valid, temperature), random_logits(3, 4, 13)
    )
    assert torch.autograd.gradcheck(lambda one: embedding_distillation(one, embedding, valid), random_logits(3, 4, 14))


def test_sure_teachers_extreme_logits_and_vectors_of_zeros_stay_finite():
    teacher = torch.tensor([[0.0, 0.0, 1.0]])
    for temperature in TEMPERATURES:
        logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
        loss = logit_distillation(logits, teacher, all_valid(1), temperature)
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(logits.grad).all()
    for projected, embedding in ((torch.zeros(1, 3), teacher), (teacher.clone(), torch.zeros(1, 3))):
        loss = embedding_distillation(projected.requires_grad_(), embedding, all_valid(1))
        loss.sum().backward()
        assert loss.tolist() == [0.0]
        assert torch.isfinite(projected.grad).all()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_a_temperature_is_that_of_calibration(temperature):
    teacher = torch.cat([softmaxes(10, 7, 15), torch.eye(7, dtype=torch.float64)])
    np.testing.assert_allclose(
        at_temperature(teacher, temperature), with_temperature(teacher.numpy(), temperature), rtol=1e-6, atol=1e-30
    )


def test_another_distance_is_taken_at_the_temperature_too():
    logits, teacher = random_logits(3, 4, 16).detach(), softmaxes(3, 4, 17)
    found = logit_distillation(logits, teacher, all_valid(3), 2.0, distance=lambda g, t: (g.softmax(-1) - t)[:, 0])
    expected = [
        softmax(row, 2)[0] - softmax([math.log(one) for one in said], 2)[0]
        for row, said in zip(logits.tolist(), teacher.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert torch.equal(logit_distillation(logits, teacher, all_valid(3)), kl_distillation(logits, teacher))
