"""Runs one after the other, in this process."""

from dataclasses import dataclass

import pytest

from liser_ray.runtime.errors import UserError
from liser_ray.training.config import WorkerSettings
from liser_ray.training.job import train_runs


@dataclass(frozen=True)
class Run:
    name: str


def train(run, inputs, group, tell):
    if run.name in inputs:
        raise UserError("no luck")


@pytest.mark.parametrize("others", [True, False])
def test_checkpoints_of_runs_that_wait_to_go_on_are_kept(tmp_path, others):
    """Those of other folds, which this call or this machine was not asked for."""
    storage = tmp_path / "training"
    storage.mkdir()
    for name in ("fold-0", "fold-1"):
        (storage / name).mkdir()
    if others:
        (storage / "fold-3.pt").touch()
    train_runs(train, [Run("fold-0")], (), WorkerSettings(workers=0), str(storage), 1, done=["fold-1"])
    assert storage.exists() == others
    assert not others or [one.name for one in storage.iterdir()] == ["fold-3.pt"]


def test_one_that_fails_costs_nobody_else(tmp_path):
    with pytest.raises(UserError, match=r"^b: no luck$"):
        train_runs(train, [Run("a"), Run("b"), Run("c")], ("b",), WorkerSettings(workers=0), str(tmp_path), 1)
