"""The stage that writes down what is said, before the teachers that take text."""

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from liser_ray.labeling.config import TRANSCRIPTS
from liser_ray.labeling.progress import Work
from liser_ray.labeling.schema import SPEECH, TRANSCRIPT, ended, set_columns
from liser_ray.labeling.teacher_stage import ask_spans, changed, read_input
from liser_ray.media.outcome import Problem
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.batches import choose_device
from liser_ray.training.precision import Precision


class TranscriptStage:
    """Actor: the transcripts of spans that are still open, have speech, and have none yet."""

    def __init__(
        self,
        address: str,
        precision: Precision,
        required: bool,
        recipe: Mapping[str, Any] | None = None,
        count: Callable[[Work], None] = lambda work: None,
        has_gpu: bool = False,
    ):
        """Load a recogniser on this machine, on the GPU if Ray gave one.

        Where text is ``required``, a span that it fails on is failed; ``count`` gets the work of each call.

        Raises:
            UserError: it can't be loaded, or is not that of the table's ``recipe``.
        """
        # Transformers, which whoever starts the job need not wait for unless there is a recogniser.
        from liser_ray.teachers.recogniser import load_recogniser

        self._recogniser = load_recogniser(address, torch.device(choose_device(has_gpu)), precision)
        self._required, self._count = required, count
        if recipe is not None and recipe["transcripts"]["recogniser"] != self._recogniser.sha256:
            raise UserError(
                f"On {socket.gethostname()} {address} is not what it was when this table was begun. Pin "
                "hf://owner/name@REVISION, or put the same files on all machines."
            )

    def __call__(self, spans: pa.Table) -> pa.Table:
        """The sound of all these spans goes through the recogniser together; where it fails, that is told at least."""
        started = time.monotonic()
        transcripts = spans[TRANSCRIPT.name].to_pylist()
        open_rows = [row for row, status in enumerate(spans["status"].to_pylist()) if not status]
        sounds: dict[int, np.ndarray] = {}
        problems: dict[int, Problem] = {}
        notes: dict[int, list[str]] = {}
        for row in open_rows:
            if transcripts[row] or not len(spans[SPEECH.name][row]):
                continue
            if (pcm := read_input(spans, row, "sound")) is None:
                problems[row] = changed(TRANSCRIPTS)
            else:
                sounds[row] = pcm
        for row, found in zip(sounds, ask_spans(self._recogniser, [*sounds.values()], TRANSCRIPTS), strict=True):
            if not isinstance(found, Problem):
                transcripts[row] = found
            elif self._required:
                problems[row] = found
            else:
                notes[row] = [f"{TRANSCRIPTS}: {found.reason}, {found.detail}"]
        if open_rows:
            work = Work(len(open_rows), len(problems), time.monotonic() - started, len(sounds), len(sounds))
            self._count(work)
        return ended(set_columns(spans, {TRANSCRIPT.name: pa.array(transcripts, pa.string())}), problems, notes)
