"""The shell of every job that trains: runs (folds, seeds) one after the other here, or beside each other on Ray."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from liser_ray.runtime.display import LiveDisplay, RunsProgress, Tell
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import delete_file, delete_folder, exists, list_files, read_bytes, write_bytes
from liser_ray.training.checkpoint import loaded, saved
from liser_ray.training.config import WorkerSettings
from liser_ray.training.fit import EpochScore, ProcessGroup, Training, same_for_all
from liser_ray.training.memory import keep_freed_memory

_TELL_EVERY_S = 1.0


class Run(Protocol):
    """What is trained to one result. It passes through processes that should not import PyTorch for it."""

    @property
    def name(self) -> str:
        """Such as "seed-0-fold-1": in progress and errors."""
        ...


RunT = TypeVar("RunT", bound=Run)
TrainRun = Callable[[RunT, Any, ProcessGroup, Tell], None]
"""Trains a run with the inputs that all share, as one of a group, and tells its progress: a function of a module."""


def train_runs(
    train: TrainRun[RunT],
    runs: Sequence[RunT],
    inputs: Any,  # noqa: ANN401 (what all runs share)
    settings: WorkerSettings,
    storage: str,
    n_steps: int,
    done: Iterable[str] = (),
    gpu_share: float = 1.0,
) -> None:
    """Train runs to their ends, each from its last checkpoint on.

    Args:
        train: trains one of them.
        runs: which.
        inputs: given to ``train``; on a cluster each node has them once.
        settings: of the workers.
        storage: folder or s3:// prefix for Ray Train's own files, until these runs are done; others' stay.
        n_steps: of all runs.
        done: names of runs that ended before; what a kill has left of them in the storage goes too.
        gpu_share: see `fit_workers`.

    Raises:
        UserError: what went wrong with which; the others are done.
    """
    if settings.workers:
        from liser_ray.training.workers import train_on_ray  # seconds to import; not for those who train here

        problems = train_on_ray(train, runs, inputs, settings, storage, n_steps, gpu_share)
    else:
        progress, group = RunsProgress(), ProcessGroup.alone()
        with LiveDisplay("steps", n_steps, lambda _: progress.snapshot()):
            problems = [train_safely(train, run, inputs, group, progress.add) for run in runs]
    failed = [f"{run.name}: {problem}" for run, problem in zip(runs, problems, strict=True) if problem]
    if failed:
        raise UserError("\n".join(failed))
    for name in (*done, *(run.name for run in runs)):
        delete_folder(join(storage, name))
    if not list_files(storage):  # else of runs that others train, or that wait to go on
        delete_folder(storage)


def train_safely(train: TrainRun[RunT], run: RunT, inputs: Any, group: ProcessGroup, tell: Tell) -> str:  # noqa: ANN401
    """Train a run; "" or why that can't succeed."""
    try:
        train(run, inputs, group, tell)
    except (UserError, FloatingPointError) as error:
        return str(error)
    return ""


def train_to_end(
    training: Training,
    name: str,
    state: str,
    checkpoint_every_s: float,
    tell: Tell,
    write: Callable[[], None],
    after_epoch: Callable[[EpochScore], None] = lambda score: None,
) -> None:
    """Train from the last checkpoint to the end. The first process calls ``tell``, ``write`` and ``after_epoch``.

    Args:
        training: not begun.
        name: of the run, for ``tell``.
        state: address of the checkpoint, which is there until the result is written.
        checkpoint_every_s: seconds between two, which are taken at the ends of epochs.
        tell: gets now and then the steps done, and a line about the last epoch.
        write: called at the end, when the weights that are kept are in the model.
        after_epoch: gets each epoch's score.
    """
    group, steps = training.group, training.steps
    if group.device.type == "cpu":
        keep_freed_memory()
    if exists(state):
        training.load_state(loaded(read_bytes(state)))
    kept_at_s = told_at_s = time.monotonic()

    def steps_done(done: int) -> None:
        nonlocal told_at_s
        if group.rank == 0 and time.monotonic() - told_at_s > _TELL_EVERY_S:
            told_at_s = time.monotonic()
            tell(name, done, training.line)

    def epoch_done(score: EpochScore) -> None:
        nonlocal kept_at_s
        due = training.finished or time.monotonic() - kept_at_s > checkpoint_every_s
        if same_for_all(due, group.world_size):
            kept_at_s = time.monotonic()
            if group.rank == 0:
                write_bytes(state, saved(training.state()))
        if group.rank == 0:
            after_epoch(score)
            tell(name, steps(training.epochs if training.finished else score.epoch), training.line)

    training.run(epoch_done, steps_done)
    if group.rank == 0:
        write()
        delete_file(state)
