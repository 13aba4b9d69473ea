"""Learning curves: while a run trains in TensorBoard's event files, MLflow or W&B, at its end in a picture."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import is_s3, join
from liser_ray.storage.files import write_bytes
from liser_ray.student.training.config import Log
from liser_ray.training.fit import EpochScore

_NAME = "liser"
"""Of the project or experiment, where WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says no other."""

Write = Callable[[int, Mapping[str, float]], None]
"""Writes an epoch's numbers: its number, from 1 on, and the others by name."""


def check_log(log: Log) -> None:
    """Raise a `UserError` if curves can't be written there: no package, or nobody has said where or who."""
    if log == "tensorboard":
        return
    found = find_spec(log)
    if found is None or found.origin is None:  # a folder of that name, such as W&B makes, is no package
        raise UserError(f"--log {log}: {log} is not installed here: pip install -U {log}, on a cluster on all nodes.")
    if log == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "--log mlflow: say where in MLFLOW_TRACKING_URI, such as http://SERVER:5000 or sqlite:////ABSOLUTE/mlflow.db."
        )
    if log == "wandb" and os.environ.get("WANDB_MODE", "online") == "online" and not os.environ.get("WANDB_API_KEY"):
        import wandb

        if not wandb.login(prompt=False, verify=False):
            raise UserError(
                "--log wandb: nobody is logged in: set WANDB_API_KEY, or WANDB_MODE=offline to send it later."
            )


def wandb_settings(group: str, output: str) -> dict[str, Any]:
    """What `wandb.init` is given for all runs of a job: ``group`` is the job's output, where local files go."""
    folder = {} if is_s3(output) else {"dir": output}
    return {"project": os.environ.get("WANDB_PROJECT", _NAME), "group": group, **folder}


def mlflow_experiment() -> str:
    """The experiment that all runs are of."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", _NAME)


@contextmanager
def curve_writer(
    output: str, log: Log = "tensorboard", settings: Mapping[str, Any] | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives what writes an epoch's numbers for TensorBoard below an output, a folder or s3:// prefix, and elsewhere.

    Epochs that an earlier process has written after the first one that is added are taken back; in MLflow and W&B what
    goes on is a run of its own. Nothing is begun before something is added.

    Args:
        output: of the run; its last two names are those of its job and of itself.
        log: where besides.
        settings: of the run, to be shown there.

    Yields:
        What takes an epoch: its number as "epoch", and anything else that is a number.
    """
    with ExitStack() as stack:
        writers: list[Write] = []

        def add(score: Mapping[str, Any]) -> None:
            if not writers:
                writers.append(_tensorboard(stack, output, score["epoch"]))
                if log != "tensorboard":
                    begin = {"mlflow": _mlflow, "wandb": _wandb}[log]
                    writers.append(begin(stack, output, {"output": output, **(settings or {})}))
            numbers = {name: float(value) for name, value in score.items() if name != "epoch" and value is not None}
            for write in writers:
                write(score["epoch"], numbers)

        yield add


def _tensorboard(stack: ExitStack, output: str, first_epoch: int) -> Write:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    # Not SummaryWriter, whose flush leaves behind what its thread has not taken yet.
    writer = stack.enter_context(closing(EventsWriter(f"{folder}/events", f".{first_epoch - 1}")))
    begun = SessionLog(status=SessionLog.START)
    writer.write_event(Event(wall_time=time.time(), step=first_epoch, session_log=begun))

    def write(epoch: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.write_event(Event(wall_time=time.time(), step=epoch, summary=scalar(name, value)))
        writer.flush()
        for file in Path(folder).iterdir():
            write_bytes(join(output, "tensorboard", file.name), file.read_bytes())

    return write


def _mlflow(stack: ExitStack, output: str, settings: Mapping[str, Any]) -> Write:
    import mlflow

    mlflow.set_experiment(mlflow_experiment())
    stack.enter_context(mlflow.start_run(run_name=_run_name(output)))
    mlflow.log_params(dict(settings))
    return lambda epoch, numbers: mlflow.log_metrics(dict(numbers), step=epoch)


def _wandb(stack: ExitStack, output: str, settings: Mapping[str, Any]) -> Write:
    import wandb

    common = wandb_settings(output.rpartition("/")[0], output)
    run = stack.enter_context(wandb.init(name=_run_name(output), config=dict(settings), **common))
    return lambda epoch, numbers: run.log(dict(numbers), step=epoch)


def _run_name(output: str) -> str:
    """Such as "student/seed-0-fold-1"."""
    return "/".join(output.split("/")[-2:])


def plot_curves(history: Sequence[EpochScore], best_epoch: int, title: str) -> bytes:
    """A PNG of the losses and of the validation UAR by epoch.

    Args:
        history: of each epoch, at least one.
        best_epoch: the one that was picked, from 1 on.
        title: above it.
    """
    # A second to import; not for every process that trains.
    from matplotlib.ticker import MaxNLocator

    from liser_ray.results.style import BLUE, COLOURS, ORANGE, make_figure, to_png

    figure, (left, right) = make_figure(9, 3.6, 1, 2)
    epochs = [score.epoch for score in history]
    terms = [name for name in history[0].terms if any(score.terms[name] for score in history)]
    for name, colour in zip(terms, cycle(COLOURS), strict=False):
        left.plot(epochs, [score.terms[name] for score in history], color=colour, label=name)
    if len(terms) != 1:
        left.plot(epochs, [score.loss for score in history], color="black", label="loss", zorder=1)
    if len(terms) > 1:  # the teachers' terms are a hundredth of the other, and those of embeddings fall below 0
        below_0 = any(min(score.loss, *score.terms.values()) < 0 for score in history)
        left.set_yscale("symlog", linthresh=0.01) if below_0 else left.set_yscale("log")
    left.set_ylabel("loss per recording")
    left.legend(frameon=False)
    validated = {score.epoch: score.validation_uar for score in history if score.validation_uar is not None}
    if validated:
        right.plot(list(validated), list(validated.values()), color=BLUE)
        best = validated[best_epoch]
        right.plot(best_epoch, best, "o", color=ORANGE, label=f"{best:.3f} in epoch {best_epoch}")
        right.legend(frameon=False)
    right.set_ylabel("validation UAR")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    return to_png(figure)
