"""The loop, on a task that takes no time: on which side of a plane points lie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from liser_ray.runtime.errors import UserError
from liser_ray.training.checkpoint import loaded, saved
from liser_ray.training.fit import (
    FitSettings,
    Losses,
    ProcessGroup,
    Step,
    Training,
    label_weights,
    learning_rate_factor,
    run_seed,
    validation_scores,
)

CPU = torch.device("cpu")
SETTINGS = FitSettings(epochs=4, learning_rate=0.05)


class Points:
    """40 points in double precision, ten a step; each batch in parts of ``part``."""

    def __init__(self, part=10, told=None):
        """With ``told`` validations come to that, one after the other."""
        rng = np.random.default_rng(0)
        self.points = torch.from_numpy(rng.normal(size=(60, 3)))
        self.truth = (self.points.sum(dim=1) > 0).long()
        self.part, self.told = part, iter(told or ())
        self.scripted = told is not None
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2)).double()

    def n_steps(self, epoch):
        return 4

    def steps(self, epoch):
        for batch in np.random.default_rng(epoch).permutation(40).reshape(4, 10):
            yield Step([batch[at : at + self.part] for at in range(0, 10, self.part)], 10)

    def losses(self, forward, part):
        loss = F.cross_entropy(forward(self.points[part]), self.truth[part], reduction="sum")
        return Losses({"loss": loss}, {"positive": (self.truth[part].sum(), len(part))})

    def validate(self, model, precision):
        if self.scripted:
            return next(self.told)
        with torch.no_grad():
            return validation_scores(model.eval()(self.points[40:]).numpy(), self.truth[40:].numpy())


def training(settings=SETTINGS, part=10, told=None, optimizers=None, seed=0):
    task = Points(part, told)
    return Training(task, settings, seed, ProcessGroup(CPU), optimizers=optimizers and optimizers(task.model))


def weights_of(one):
    return {name: value.clone() for name, value in one.model.state_dict().items()}


def finish(one):
    """Train to the end; the weights after each epoch."""
    after = []
    one.run(lambda score: after.append(weights_of(one)))
    return after


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def without_time(one):
    return [replace(score, seconds=0.0) for score in one.history]


def test_it_learns_and_says_how_far_it_is():
    done, steps = training(replace(SETTINGS, epochs=20)), []
    assert done.line == "first epoch"
    done.run(lambda score: None, steps.append)
    assert done.history[-1].loss < 0.5 * done.history[0].loss
    assert done.best.validation_uar > 0.9
    assert steps == list(range(1, done.steps(done.epochs) + 1))
    assert done.line.startswith("epoch 20/20, loss 0.")
    assert f"best {done.best.validation_uar:.2f} at {done.best.epoch}" in done.line
    assert done.history[0].shares["positive"] == pytest.approx(float(done.task.truth[:40].double().mean()))
    assert done.history[0].flat.keys() == {
        *("epoch", "loss", "positive", "validation_loss", "validation_uar", "seconds")
    }


@pytest.mark.parametrize(
    ("changes", "told", "best", "epochs"),
    [
        ({}, [(0.9, 0.3), (0.5, 0.6), (0.4, 0.6), (0.1, 0.5)], 3, 4),  # by UAR, then by loss
        ({}, [None] * 4, 4, 4),
        ({"keep": "last"}, [(0.1, 0.9), (0.5, 0.6), (0.4, 0.6), (0.9, 0.1)], 4, 4),
        ({"epochs": 9, "patience": 2}, [(0.5, 0.3), (0.5, 0.6), (0.6, 0.6), (0.5, 0.5)], 2, 4),
        ({"epochs": 5, "validate_every": 2}, [(0.5, 0.5), (0.5, 0.4), (0.5, 0.6)], 5, 5),
        ({"epochs": 2, "stages": 2}, [(0.5, 0.5), (0.5, 0.4)], 3, 4),
        ({}, [None, (0.5, 0.3), None, (0.5, 0.3)], 2, 4),
    ],
)
def test_the_weights_of_the_kept_epoch_are_those_at_the_end(changes, told, best, epochs):
    done = training(replace(SETTINGS, **changes), told=told)
    after = finish(done)
    assert (done.best.epoch, len(after), done.finished) == (best, epochs, True)
    assert equal(weights_of(done), after[best - 1])
    validated = [score.validation_uar for score in done.history if score.validation_uar is not None]
    assert validated == [one[1] for one in told if one]


def test_a_stage_begins_with_an_optimizer_that_remembers_nothing_of_the_one_before():
    settings = replace(SETTINGS, epochs=2, stages=2)
    whole, anew = training(settings), training(settings)
    never_used = anew.state()["optimizers"]
    finish(anew)
    whole.run_epoch()
    whole.run_epoch()
    state = saved(whole.state())
    for optimizers in (whole.state()["optimizers"], never_used):
        one = training(settings)
        one.load_state(loaded(state) | {"optimizers": optimizers})
        finish(one)
        assert equal(weights_of(one), weights_of(anew))


@pytest.mark.parametrize(
    "changes", [{}, {"ema_decay": 0.9, "schedule": "cosine"}, {"schedule": "linear", "patience": 3}]
)
def test_stopped_and_gone_on_it_is_as_if_never_stopped(changes):
    settings = replace(SETTINGS, **changes)
    whole, first = training(settings), training(settings)
    finish(whole)
    first.run_epoch()
    first.run_epoch()
    data = saved(first.state())
    torch.manual_seed(99)  # another process has other random numbers
    second = training(settings)
    second.load_state(loaded(data))
    finish(second)
    assert without_time(second) == without_time(whole)
    assert equal(weights_of(second), weights_of(whole))


def test_a_checkpoint_of_which_a_part_is_lost_is_refused():
    data = saved({"weights": torch.zeros(100)})
    for part in (data[: len(data) // 2], b""):
        with pytest.raises(UserError, match="is damaged"):
            loaded(part)


def test_a_checkpoint_that_could_run_code_is_refused():
    with pytest.raises(UserError, match="could run code"):
        loaded(saved({"history": [Points]}))


def test_the_seed_decides_and_is_another_for_each_fold():
    one, same, other = (training(seed=seed) for seed in (0, 0, 1))
    for each in (one, same, other):
        finish(each)
    assert without_time(one) == without_time(same) != without_time(other)
    assert len({run_seed(seed, fold) for seed in range(20) for fold in range(5)}) == 100


def test_small_parts_sum_to_the_whole_batch():
    whole, parts = training(), training(part=3)
    for one in (whole, parts):
        one.model[1].p = 0.0  # its random numbers depend on the parts
        finish(one)
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(parts)[name], value, rtol=1e-9, atol=1e-12)
    assert whole.history[-1].loss == pytest.approx(parts.history[-1].loss, rel=1e-9)


def test_other_optimizers_follow_the_schedule_and_long_gradients_are_shortened():
    def halves(model):
        return [torch.optim.SGD(model[0].parameters(), lr=1.0), torch.optim.SGD(model[3].parameters(), lr=0.5)]

    one = training(replace(SETTINGS, max_gradient_norm=1e-3, schedule="linear", warm_up=0.0), optimizers=halves)
    before = weights_of(one)
    one.run_epoch()
    moved = {name: float((value - before[name]).norm()) for name, value in weights_of(one).items()}
    assert 0 < max(moved.values()) <= 4e-3  # four steps
    rates = [group["lr"] for optimizer in one.optimizers for group in optimizer.param_groups]
    assert rates == pytest.approx([13 / 16, 0.5 * 13 / 16])


def test_what_is_frozen_is_neither_trained_nor_kept():
    one = training()
    one.model[0].requires_grad_(False)
    one = Training(one.task, SETTINGS, 0, ProcessGroup(CPU))
    before = weights_of(one)
    finish(one)
    assert torch.equal(one.model[0].weight, before["0.weight"])
    assert not torch.equal(one.model[3].weight, before["3.weight"])
    assert one.state()["model"].keys() == {"3.weight", "3.bias"}


def test_the_moving_average_is_what_is_validated_and_kept():
    averaged, plain = training(replace(SETTINGS, ema_decay=0.99, keep="last")), training()
    finish(averaged)
    finish(plain)
    assert averaged.history[-1].loss == plain.history[-1].loss  # the same steps
    assert averaged.history[-1].validation_loss != plain.history[-1].validation_loss
    score = averaged.task.validate(averaged.model, "float32")
    assert score == (averaged.history[-1].validation_loss, averaged.history[-1].validation_uar)


def test_a_loss_that_is_not_finite_stops_with_advice():
    one = training()
    one.task.points[0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"epoch 1\. Lower --train\.learning_rate"):
        one.run_epoch()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_schedule_warms_up_and_ends_near_zero(schedule):
    settings = replace(SETTINGS, schedule=schedule, warm_up=0.05)
    rates = [learning_rate_factor(settings, at, 100) for at in range(100)]
    assert max(rates) == pytest.approx(1, abs=0.05)
    assert np.argmax(rates) < 10
    assert rates[0] < 0.5
    assert rates[-1] <= 0.01
    assert all(np.diff(rates[np.argmax(rates) :]) <= 0)
    assert learning_rate_factor(SETTINGS, 99, 100) == 1


def test_balanced_classes_weigh_the_same():
    weights = label_weights("balanced", np.array([0, 0, 0, 1]), 2)
    assert (3 * weights[0], weights @ [3, 1]) == (pytest.approx(weights[1]), pytest.approx(4))
    shared = label_weights("balanced", np.array([[1, 0], [0.75, 0.25], [0.25, 0.75]], np.float32), 2)
    assert (2 * shared[0], shared @ [2, 1]) == (pytest.approx(shared[1]), pytest.approx(3))
