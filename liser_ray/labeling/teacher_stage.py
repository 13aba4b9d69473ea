"""The stages after the media stage: teachers that share an input give their targets for each window of each span."""

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from liser_ray.labeling.progress import Work
from liser_ray.labeling.schema import (
    CLIP_START_S,
    CLIP_VALID,
    CLIPS,
    SPEECH,
    TRANSCRIPT,
    bytes_in_place,
    ended,
    list_column,
    set_columns,
)
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.clips import WINDOW_CELLS
from liser_ray.media.content_hash import CLIPS_HASH, SOUND_HASH, digest
from liser_ray.media.flac import decode_flac
from liser_ray.media.outcome import Problem, Reason
from liser_ray.media.speech import speech_shares
from liser_ray.media.yuv import CROP_PX, PACKED_ROWS
from liser_ray.runtime.errors import UserError
from liser_ray.storage.run_record import plain
from liser_ray.teachers.batches import Windows, choose_device
from liser_ray.teachers.kinds import TeacherEntry
from liser_ray.teachers.speaks import SpeaksTeacher, judge
from liser_ray.teachers.targets import Takes, Target
from liser_ray.teachers.teacher import Answer, Teacher
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.precision import Precision

log = logging.getLogger(__name__)

CLIP_SHAPE = (WINDOW_CELLS, PACKED_ROWS, CROP_PX)
_NEARLY = 0.01  # so far from 1 may probabilities of half precision sum

Answers = Mapping[str, Answer]
"""By the targets' names."""

Input = TypeVar("Input")
Found = TypeVar("Found")


@dataclass(frozen=True)
class SpanWindows:
    """A span's windows.

    Attributes:
        inputs: what the teacher takes, for each window that it is asked about.
        asked: int64 [n], which of the W windows these are.
        start_s: float32 [W], start of each window from the span's start, in seconds.
        valid: float32 [W], see `liser_ray.labeling.schema.target_type`.
    """

    inputs: Windows
    asked: np.ndarray
    start_s: np.ndarray
    valid: np.ndarray


class TeacherStage:
    """Actor: the targets of one or more teachers for the spans that are still open."""

    def __init__(
        self,
        entries: Sequence[TeacherEntry],
        required: Collection[str],
        precision: Precision,
        drops_clips: bool = False,
        recipe: Mapping[str, Any] | None = None,
        count: Callable[[Work], None] = lambda work: None,
        has_gpu: bool = False,
    ):
        """Load teachers, which all take the same, on this machine, on the GPU if Ray gave one.

        Without an answer of those that are ``required`` a span is failed. ``drops_clips`` says that nobody needs the
        clips afterwards; ``count`` gets the work of each call.

        Raises:
            UserError: one can't be loaded, or they are not those of the table's ``recipe``: other weights were put in
                their place since it was begun, or this machine has others.
        """
        device = torch.device(choose_device(has_gpu))
        self._teachers = {entry.name: entry.load(device, precision) for entry in entries}
        if recipe is not None:
            here = {one.name: plain(one.to_json()) for teacher in self._teachers.values() for one in teacher.targets}
            own = here.keys() | self._teachers.keys()
            there = {one["name"]: one for one in recipe["targets"] if own & {one["name"], one["teacher"]}}
            if others := sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)):
                raise UserError(
                    f"On {socket.gethostname()} {', '.join(others)} is not what it was when this table was begun. Pin "
                    "hf://owner/name@REVISION, or put the same files on all machines, and where they were."
                )
        self._required, self._drops_clips, self._count = frozenset(required), drops_clips, count

    def __call__(self, spans: pa.Table) -> pa.Table:
        """Windows of all spans go through a teacher together; what fails is told of those that are not required."""
        started = time.monotonic()
        open_rows = [row for row, status in enumerate(spans["status"].to_pylist()) if not status]
        first, teacher = next(iter(self._teachers.items()))
        needs_text = next((name for name in self._teachers if name in self._required and teacher.takes == "text"), "")
        problems: dict[int, Problem] = {}
        media: dict[int, np.ndarray] = {}
        for row in open_rows:
            if (found := read_input(spans, row, teacher.takes)) is None:
                problems[row] = changed(first)
            elif needs_text and not len(found):
                problems[row] = Problem(needs_text, Reason.NO_WORDS, "it has no transcript")
            else:
                media[row] = found
        filled: dict[str, pa.Array] = {}
        notes: dict[int, list[str]] = {}
        n_windows = n_slots = 0
        for name, teacher in self._teachers.items():
            windows = {row: _windows(spans, row, one, teacher) for row, one in media.items() if row not in problems}
            answers: dict[int, Answers] = {}
            predictions = predict_spans(teacher, [one.inputs for one in windows.values()], name)
            for row, predicted in zip(windows, predictions, strict=True):
                if not isinstance(predicted, Problem):
                    answers[row] = predicted
                elif name in self._required:
                    problems[row] = predicted
                else:
                    notes.setdefault(row, []).append(f"{name}: {predicted.reason}, {predicted.detail}")
            asked = sum(len(one.asked) for one in windows.values())
            n_windows += asked
            n_slots += math.ceil(asked / teacher.batch_size) * teacher.batch_size
            if isinstance(teacher, SpeaksTeacher):
                spans = _with_sound(spans, name, teacher, windows, answers, problems, name in self._required)
            kinds = spans.schema.field("targets").type
            for target in teacher.targets:
                kind = kinds.field(target.name).type
                filled[target.name] = _target_column(target, kind, len(spans), windows, answers)
        if open_rows:
            self._count(Work(len(open_rows), len(problems), time.monotonic() - started, n_windows, n_slots))
        if self._drops_clips:
            spans = spans.drop_columns([CLIPS.name])
        column = spans["targets"].combine_chunks()
        children = [filled.get(one.name, column.field(index)) for index, one in enumerate(column.type)]
        targets = pa.StructArray.from_arrays(children, fields=list(column.type))
        return ended(set_columns(spans, {"targets": targets}), problems, notes)


def read_input(spans: pa.Table, row: int, takes: Takes) -> np.ndarray | None:
    """A span's packed clips uint8 [W, 16, 337, 224], sound int16 [n] or transcript, one string or none.

    None if clips or sound are not what the media stage made.
    """
    if takes == "text":
        return np.array(list(filter(None, [spans[TRANSCRIPT.name][row].as_py()])), np.str_)
    if takes == "clips":
        data, place = bytes_in_place(spans[CLIPS.name], row).reshape(-1, *CLIP_SHAPE), CLIPS_HASH
    else:
        data, place = decode_flac(spans["audio"][row].as_py()), SOUND_HASH
    return data if digest(data) == spans["content_hash"][row].as_py()[place] else None


def changed(name: str) -> Problem:
    """What ends a span whose data `read_input` does not take."""
    return Problem(name, Reason.HASH_MISMATCH, "the data changed on its way from the media stage")


def _stretches(spans: pa.Table, row: int) -> np.ndarray:
    """Of a span's speech, int64 [S, 2]."""
    return np.array(spans[SPEECH.name][row].as_py(), np.int64).reshape(-1, 2)


def _windows(spans: pa.Table, row: int, media: np.ndarray, teacher: Teacher) -> SpanWindows:
    if teacher.takes == "clips":
        valid, start_s = (np.array(spans[one.name][row].as_py(), np.float32) for one in (CLIP_VALID, CLIP_START_S))
        asked = np.flatnonzero(valid > 0)
        return SpanWindows([media[window] for window in asked], asked, start_s, valid)  # views
    if teacher.takes == "text":
        return SpanWindows(media, np.arange(len(media)), np.zeros(1, np.float32), np.full(1, len(media), np.float32))
    target = teacher.targets[0]
    window_s = target.window_s or len(media) / SAMPLE_RATE_HZ
    windows, start_s = sound_windows(media, window_s, target.hop_s or window_s, teacher.hears_s)
    starts = np.round(start_s * SAMPLE_RATE_HZ).astype(np.int64)
    length = min(round(window_s * SAMPLE_RATE_HZ), max(1, len(media)))  # what a short span lacks is no silence
    valid = speech_shares(_stretches(spans, row), starts, length)
    return SpanWindows(windows, np.arange(len(windows)), start_s, valid)


def _with_sound(
    spans: pa.Table,
    name: str,
    teacher: SpeaksTeacher,
    windows: dict[int, SpanWindows],
    answers: dict[int, Answers],
    problems: dict[int, Problem],
    required: bool,
) -> pa.Table:
    """Make correlations with the sound of a span's landmarks, in place; where nobody speaks, the clips are invalid.

    Returns:
        The spans, with what is left valid for the teachers after this one.
    """
    clip_valid = [np.array(one, np.float32) for one in spans[CLIP_VALID.name].to_pylist()]
    for row in list(answers):
        of_row, (answer,) = windows[row], answers.pop(row).values()
        pcm = read_input(spans, row, "sound")
        if pcm is None:
            problems[row] = changed(name)
            continue
        points = np.zeros((len(of_row.valid), CLIP_SHAPE[0], 68, 2), np.float32)
        points[of_row.asked] = answer.values.reshape(-1, *points.shape[1:])
        found = judge(points, of_row.valid == 1, pcm, _stretches(spans, row))
        asked = np.flatnonzero(found.known)
        windows[row] = replace(of_row, asked=asked, valid=of_row.valid * found.known)
        answers[row] = {name: Answer(found.correlation[asked, None])}
        mute = found.known & (found.correlation < teacher.threshold)
        clip_valid[row][mute] = 0
        if required and len(asked) and mute.sum() == len(asked):
            highest = found.correlation[asked].max()
            words = f"mouth and sound correlate by {highest:.2f} at most, in {len(asked)} windows"
            problems[row] = Problem(name, Reason.NOT_SPEAKING, words)
    return set_columns(spans, {CLIP_VALID.name: list_column(clip_valid, CLIP_VALID.type)})


def _target_column(
    target: Target, kind: pa.DataType, n_rows: int, windows: Mapping[int, SpanWindows], answers: Mapping[int, Answers]
) -> pa.StructArray:
    """A target of all rows; those without an answer have empty lists."""
    nothing = np.empty((0, 1), np.float32)
    columns: dict[str, list[np.ndarray]] = {one.name: [nothing] * n_rows for one in kind}
    for row, said in answers.items():
        of_row = windows[row]
        columns["start_s"][row], columns["valid"][row] = of_row.start_s, of_row.valid
        for name, of_asked in said[target.name]._asdict().items():
            if name in columns:
                columns[name][row] = np.zeros((len(of_row.valid), of_asked.shape[1]), of_asked.dtype)
                columns[name][row][of_row.asked] = of_asked
    arrays = [list_column(columns[one.name], one.type) for one in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def predict_spans(teacher: Teacher, inputs: Sequence[Windows], name: str) -> list[Answers | Problem]:
    """A teacher's answers for each span's windows: all in one call, and span by span if that fails.

    Returns:
        For each span its answers, or why there are none.
    """

    def ask(together: Sequence[Windows]) -> list[Answers]:
        answers = teacher([window for one in together for window in one])
        _refuse_unlike(answers, teacher, sum(map(len, together)))
        ends = np.cumsum([len(one) for one in together])
        return [
            {target: answer.part(slice(end - len(one), end)) for target, answer in answers.items()}
            for one, end in zip(together, ends.tolist(), strict=True)
        ]

    return ask_spans(ask, inputs, name)


def _refuse_unlike(answers: Answers, teacher: Teacher, n_windows: int) -> None:
    """Refuse answers that are not what the teacher's targets say, see `liser_ray.teachers.teacher.Answer`."""
    numbers = [one for answer in answers.values() for one in answer if one is not None]
    if not all(np.isfinite(one).all() for one in numbers):
        raise FloatingPointError("numbers that are not finite")
    for target in () if isinstance(teacher, SpeaksTeacher) else teacher.targets:  # its answers are landmarks as yet
        values, embedding = answers[target.name]
        given = {"values": (values, len(target.labels)), "embedding": (embedding, target.embedding_size)}
        for what, (one, width) in given.items():
            shape = () if one is None else one.shape
            if width and shape != (n_windows, width):
                raise ValueError(f"{what} of {target.name} are {shape}, not {(n_windows, width)}")
        if target.kind == "distribution" and (np.abs(values.sum(axis=1, dtype=np.float64) - 1) > _NEARLY).any():
            raise ValueError(f"numbers of {target.name} that are no probabilities: they do not sum to 1")


def ask_spans(
    ask: Callable[[Sequence[Input]], Sequence[Found]], inputs: Sequence[Input], name: str
) -> list[Found | Problem]:
    """What somebody of this name says of each span's input: asked of all together, and one by one if that fails.

    ``ask`` gives one thing for each, and may raise whatever it likes.
    """
    if not inputs:
        return []
    try:
        return [*ask(inputs)]
    except Exception as error:  # whatever it is, it costs the spans it belongs to and not the job
        if len(inputs) == 1:
            _end_without_gpu(name)
            log.warning("%s failed on a span: %s: %s", name, type(error).__name__, error)
            return [Problem(name, Reason.TEACHER_ERROR, f"{type(error).__name__}: {error}")]
        log.warning("%s failed on %d spans together (%s): now one by one", name, len(inputs), error)
        return [found for one in inputs for found in ask_spans(ask, [one], name)]


def _end_without_gpu(name: str) -> None:
    """End this process if CUDA has failed for good in it (an uncorrectable error of the memory, an illegal access).

    Every later call would fail too, at once, and all spans that are left would end as failed. Ray starts another worker
    in its place and gives it the same spans.
    """
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        log.error("%s lost its GPU (%s): this worker ends, and another takes its spans", name, error)
        os.kill(os.getpid(), signal.SIGKILL)
