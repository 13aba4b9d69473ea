"""Stacked networks and their optimizer give what PyTorch's own layers and optimizer give, in double precision."""

import pytest
import torch

from liser_ray.student.config import NetworkConfig
from liser_ray.student.network import StudentNetwork
from liser_ray.student.population.network import StackedStudents
from liser_ray.student.population.optimizer import StackedAdamW

VARIANTS = [NetworkConfig(), NetworkConfig(pooling="mean", normalisation="corpus"), NetworkConfig(pooling="attention")]


def make_students(config, n=3):
    students = []
    for seed in range(n):
        torch.manual_seed(seed)
        student = StudentNetwork(5, 7, config).double()
        if student.classifier.normalisation is not None:
            student.classifier.normalisation.mean.uniform_(-1, 1)
            student.classifier.normalisation.std.uniform_(1, 2)
        students.append(student)
    return students


@pytest.mark.parametrize("config", VARIANTS, ids=lambda config: f"{config.pooling}, {config.normalisation}")
def test_logits_gradients_and_statistics(config):
    students = make_students(config)
    stacked = StackedStudents(students)
    inputs = torch.randn(3, 4, 64, 94, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    together = stacked(inputs, masks=None)
    sum((one**2).sum() for one in together).backward()
    for number, student in enumerate(students):
        logits = student(inputs[number])
        for one, alone in zip(together, logits, strict=True):
            torch.testing.assert_close(one[number], alone)
        sum((one**2).sum() for one in logits).backward()
        for name, parameter in student.named_parameters():
            found = stacked.parameters[name].grad[number]
            torch.testing.assert_close(found, parameter.grad, atol=1e-10, rtol=1e-8, msg=name)
        for name, value in stacked.weights_of(number).items():
            torch.testing.assert_close(value, student.state_dict()[name])  # batch norm's statistics too


def test_evaluation_by_parts():
    students = make_students(VARIANTS[0])
    windows = torch.randn(50, 64, 94, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    found = StackedStudents(students).classify(windows)
    assert found.shape == (50, 3, 5)
    for number, student in enumerate(students):
        with torch.no_grad():
            torch.testing.assert_close(found[:, number], student.classifier.eval()(windows))


def test_adamw_with_rates_of_their_own():
    generator = torch.Generator().manual_seed(0)
    start = {
        "a": torch.randn(2, 3, 4, dtype=torch.float64, generator=generator),
        "b": torch.randn(2, dtype=torch.float64),
    }
    rates, decays = (1e-3, 0.1), (0.01, 0.5)
    stacked = {name: value.clone().requires_grad_() for name, value in start.items()}
    ours = StackedAdamW(stacked, torch.tensor(rates, dtype=torch.float64), torch.tensor(decays, dtype=torch.float64))
    alone = [{name: value[i].clone().requires_grad_() for name, value in start.items()} for i in range(2)]
    optimizers = [torch.optim.AdamW(alone[i].values(), lr=rates[i], weight_decay=decays[i]) for i in range(2)]
    for factor in (1.0, 0.5, 0.1):
        gradients = {
            name: torch.randn(value.shape, dtype=torch.float64, generator=generator) for name, value in start.items()
        }
        for name, value in stacked.items():
            value.grad = gradients[name].clone()
        ours.step(factor)
        for i, optimizer in enumerate(optimizers):
            optimizer.param_groups[0]["lr"] = rates[i] * factor
            for name, value in alone[i].items():
                value.grad = gradients[name][i].clone()
            optimizer.step()
    for i in range(2):
        for name, value in alone[i].items():
            torch.testing.assert_close(stacked[name][i], value, rtol=1e-12, atol=1e-14)
    assert all(value.grad is None for value in stacked.values())
