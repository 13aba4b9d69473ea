from multiprocessing import get_context

import pytest
import torch
from shared_training import share_a_training, without_batch_norm
from small_training import finish, make_training

from liser_ray.student.training.config import TrainConfig

TRAIN = TrainConfig(epochs=2, batch_size=9, learning_rate=2e-3)


@pytest.mark.slow
def test_two_processes_that_share_each_batch_are_one(tmp_path):
    other = get_context("spawn").Process(target=share_a_training, args=(1, tmp_path, TRAIN))
    other.start()
    one = finish(make_training(train=TRAIN, wrap=without_batch_norm))
    share_a_training(0, tmp_path, TRAIN)
    other.join()
    assert other.exitcode == 0
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    # In double precision: all that differs is the order of sums.
    for (loss, terms), score in zip(found[0]["losses"], one.history, strict=True):
        assert {"loss": loss} | terms == pytest.approx({"loss": score.loss} | score.terms, rel=1e-9)
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(found[0]["weights"][name], value, rtol=1e-6, atol=1e-9)
        assert torch.equal(found[0]["weights"][name], found[1]["weights"][name])
