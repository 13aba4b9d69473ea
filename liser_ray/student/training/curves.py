"""Learning curves: TensorBoard's event files while a run trains, and a picture at its end."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from liser_ray.storage.addresses import join
from liser_ray.storage.files import write_bytes
from liser_ray.training.fit import EpochScore


@contextmanager
def curve_writer(output: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives what writes an epoch's numbers for TensorBoard below an output, a folder or s3:// prefix.

    Epochs that an earlier process has written after the first one that is added are taken back. An epoch has its number
    as "epoch", and anything else that is a number.
    """
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        writer: EventsWriter | None = None

        def add(score: Mapping[str, Any]) -> None:
            nonlocal writer
            now = {"wall_time": time.time(), "step": score["epoch"]}
            if writer is None:
                # Not SummaryWriter, whose flush leaves behind what its thread has not taken yet.
                writer = stack.enter_context(closing(EventsWriter(f"{temporary}/events", f".{score['epoch'] - 1}")))
                writer.write_event(Event(**now, session_log=SessionLog(status=SessionLog.START)))
            for name, value in score.items():
                if name != "epoch" and value is not None:
                    writer.write_event(Event(**now, summary=scalar(name, value)))
            writer.flush()
            for file in Path(temporary).iterdir():
                write_bytes(join(output, "tensorboard", file.name), file.read_bytes())

        yield add


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
    for name, colour in zip(terms, COLOURS, strict=False):
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
