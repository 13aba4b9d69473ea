"""Each student of a population comes out as if it had been trained alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import N_VIDEO, make_training
from tones import LABELS

from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig, NetworkConfig
from liser_ray.student.network import StudentNetwork
from liser_ray.student.population.training import Population
from liser_ray.student.training.config import AugmentConfig, TrainConfig

TRAIN = TrainConfig(epochs=2, batch_size=8, learning_rate=2e-3)
SETTINGS = [(0.1, 5.0, 0), (10.0, 0.5, 0), (0.0, 1.0, 1)]  # λ_sd, λ_vd, seed


def trainings(train=TRAIN, settings=SETTINGS, loss=None, **more):
    loss = loss or LossConfig(confidence="raw")
    return [
        make_training(loss=replace(loss, lambda_sd=sd, lambda_vd=vd), seed=seed, train=train, **more)
        for sd, vd, seed in settings
    ]


def run(population):
    while not population.finished:
        population.run_epoch()
    return population


def numbers(score):
    return [value for name, value in vars(score).items() if name != "seconds" and value is not None]


def compare(population, alone):
    """The scores of each epoch.

    Equal but for rounding, which Adam makes steps of where a gradient is nothing else: biases before batch norm.
    """
    for number, training in enumerate(alone):
        for together, by_itself in zip(population.histories[number], training.history, strict=True):
            np.testing.assert_allclose(numbers(together), numbers(by_itself), atol=1e-3)


def train_epochs(alone):
    for training in alone:
        while not training.finished:
            training.run_epoch()
    return alone


def variant(network):
    """A network of this variant in place of the paper's."""

    def wrap(_):
        torch.manual_seed(3)
        student = StudentNetwork(len(LABELS), N_VIDEO, network)
        if student.classifier.normalisation is not None:
            student.classifier.normalisation.mean.fill_(-5)
            student.classifier.normalisation.std.fill_(3)
        return student

    return wrap


@pytest.mark.parametrize(
    "train",
    [
        TRAIN,
        replace(TRAIN, two_stage=True),
        replace(TRAIN, labeled_per_batch=6, class_weights="balanced", ema_decay=0.9, schedule="cosine"),
        replace(TRAIN, augment=AugmentConfig(band_masks=1, frame_masks=1, mixup_alpha=0.4), validate_every=2),
    ],
    ids=["paper", "two stages", "balanced, averaged, cosine", "augmented"],
)
def test_each_student_is_the_one_trained_alone(train):
    compare(run(Population(trainings(train))), train_epochs(trainings(train)))


@pytest.mark.parametrize(
    "network",
    [
        NetworkConfig(pooling="attention", dropout=0.3, filters=(8, 12, 20), hidden_size=10, bidirectional=True),
        NetworkConfig(pooling="mean", normalisation="corpus"),
    ],
    ids=["attention, dropout, sizes", "mean, normalised"],
)
def test_variants_of_the_network(network):
    wrap = variant(network)
    compare(run(Population(trainings(wrap=wrap))), train_epochs(trainings(wrap=wrap)))


def test_a_checkpoint_goes_on_where_it_was():
    train = replace(TRAIN, ema_decay=0.9)
    whole = run(Population(trainings(train)))
    first = Population(trainings(train))
    first.run_epoch()
    second = Population(trainings(train))
    second.load_state(first.state())
    run(second)
    for number in range(len(SETTINGS)):
        assert list(map(numbers, second.histories[number])) == list(map(numbers, whole.histories[number]))
        weights = second.weights_of(number)
        for name, value in whole.weights_of(number).items():
            assert torch.equal(weights[name], value)


def test_one_that_diverges_does_not_touch_the_others():
    def make(*rates):
        return [make_training(train=replace(TRAIN, learning_rate=rate)) for rate in rates]

    together = run(Population(make(1e-3, 1e30, 2e-3)))
    assert [bool(problem) for problem in together.problems] == [False, True, False]
    assert "not finite in epoch 1" in together.problems[1]
    others = run(Population(make(1e-3, 2e-3)))
    for number, other in ((0, 0), (2, 1)):
        for one, two in zip(together.histories[number], others.histories[other], strict=True):
            np.testing.assert_allclose(numbers(one), numbers(two), atol=1e-3)


def test_learning_rates_and_decays_of_their_own():
    def make():
        rates = [(1e-3, 0.01), (4e-3, 0.3)]
        return [make_training(train=replace(TRAIN, learning_rate=r, weight_decay=d)) for r, d in rates]

    compare(run(Population(make())), train_epochs(make()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": replace(TRAIN, epochs=3)}, "train.epochs"),
        ({"train": replace(TRAIN, augment=AugmentConfig(band_masks=1))}, "train.augment"),
        ({"loss": LossConfig(label_smoothing=0.1, confidence="raw")}, "loss.label_smoothing"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(change, named):
    with pytest.raises(UserError, match=named):
        Population([*trainings(), *trainings(**change)])
