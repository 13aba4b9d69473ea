"""A search on tones, and what its trials share."""

import pytest

from liser_ray.search.config import SearchConfig
from liser_ray.student.training.config import TrainConfig
from liser_ray.student.training.job import check, make_inputs


@pytest.fixture(scope="session")
def config(tones, tone_labels):
    train = TrainConfig(epochs=2, batch_size=10, learning_rate=2e-3)
    return SearchConfig(tones, tone_labels, train=train, max_concurrent_trials=1)  # fewer processes to start


@pytest.fixture(scope="session")
def inputs(config):
    return make_inputs(config, check(config))
