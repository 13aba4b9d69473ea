"""The stages after the media stage: a teacher predicts a softmax for each window of each span."""

import logging
import math
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.progress import Work
from liser_ray.labeling.schema import CLIPS, bytes_in_place, ending, list_column, set_columns
from liser_ray.media.flac import decode_flac
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.media.span import CLIPS_HASH, SOUND_HASH, digest
from liser_ray.teachers.batches import Windows, choose_device

log = logging.getLogger(__name__)

CLIP_SHAPE = (16, 224, 224, 3)


@dataclass(frozen=True)
class SpanWindows:
    """A span's windows.

    Attributes:
        inputs: what the teacher takes, for each window that is valid.
        valid: bool [W], which ones these are.
        start_s: float32 [W], start of each window from the span's start, in seconds.
    """

    inputs: Windows
    valid: np.ndarray
    start_s: np.ndarray


class TeacherStage(ABC):
    """Actor: a teacher's softmax for each valid window of the spans that are still open.

    Attributes:
        stage: its name.
        probs: column of the softmaxes; a list, or a struct of lists.
        start_s: column of the windows' starts; "": the media stage has filled it.
        used_up: column that nobody needs afterwards, if any.
    """

    stage: Stage
    probs: str
    start_s = ""
    used_up = ""

    def __init__(self, config: LabelConfig, count: Callable[[Work], None] = lambda work: None, has_gpu: bool = False):
        """Load the teacher on this machine, on the GPU if Ray gave one; ``count`` gets the work of each call."""
        self._teacher = self._load(config, choose_device(has_gpu))
        self._count = count

    @abstractmethod
    def _load(self, config: LabelConfig, device: str) -> Any:  # noqa: ANN401 (see below)
        """The teacher: it has a ``batch_size``, and gives softmaxes float32 [N, K] of N windows, or a dict of such."""

    @abstractmethod
    def _read(self, spans: pa.Table, row: int) -> SpanWindows | None:
        """A span's windows; None if they are not the bytes that the media stage has made."""

    def __call__(self, spans: pa.Table) -> pa.Table:
        """Windows of all spans go through the teacher together; windows that are not valid get zeros."""
        started = time.monotonic()
        windows: dict[int, SpanWindows] = {}
        problems: dict[int, Problem] = {}
        for row, status in enumerate(spans["status"].to_pylist()):
            if status:
                continue
            if found := self._read(spans, row):
                windows[row] = found
            else:
                problems[row] = Problem(
                    self.stage, Reason.HASH_MISMATCH, "the data changed on its way from the media stage"
                )
        probs: dict[int, np.ndarray] = {}
        predictions = predict_spans(self._predict, [one.inputs for one in windows.values()], self.stage)
        for (row, one), predicted in zip(windows.items(), predictions, strict=True):
            if isinstance(predicted, Problem):
                problems[row] = predicted
            else:
                probs[row] = np.zeros((len(one.valid), predicted.shape[1]), np.float32)
                probs[row][one.valid] = predicted
        if n_spans := len(windows.keys() | problems.keys()):
            n_windows = sum(len(one.inputs) for one in windows.values())
            n_slots = math.ceil(n_windows / self._teacher.batch_size) * self._teacher.batch_size
            self._count(Work(n_spans, len(problems), time.monotonic() - started, n_windows, n_slots))
        spans = self._filled(spans, windows, probs)
        endings = {name: spans[name].to_pylist() for name in ("status", "stage", "reason", "detail")}
        for row, problem in problems.items():
            for name, text in ending(problem).items():
                endings[name][row] = text
        return set_columns(spans, {name: pa.array(texts, pa.string()) for name, texts in endings.items()})

    def _predict(self, inputs: Windows) -> np.ndarray:
        """Softmaxes of N windows, those of several teachers side by side: float32 [N, sum of K]."""
        found = self._teacher(inputs)
        return np.concatenate(list(found.values()), axis=1) if isinstance(found, dict) else found

    def _filled(self, spans: pa.Table, windows: Mapping[int, SpanWindows], probs: Mapping[int, np.ndarray]) -> pa.Table:
        """The table with the columns of this stage; rows without a value get an empty list."""
        if self.used_up:
            spans = spans.drop_columns([self.used_up])
        kind = spans.schema.field(self.probs).type
        kinds = [one.type for one in kind] if pa.types.is_struct(kind) else [kind]
        ends = np.cumsum([one.value_type.list_size for one in kinds])[:-1]
        nothing = [np.empty((0, 1), np.float32)] * len(kinds)
        parts = [np.split(probs[row], ends, axis=1) if row in probs else nothing for row in range(len(spans))]
        lists = [list_column(rows, one) for rows, one in zip(zip(*parts, strict=True), kinds, strict=True)]
        is_struct = pa.types.is_struct(kind)
        filled = {self.probs: pa.StructArray.from_arrays(lists, fields=list(kind)) if is_struct else lists[0]}
        if self.start_s:
            start_s = [windows[row].start_s if row in windows else nothing[0] for row in range(len(spans))]
            filled[self.start_s] = list_column(start_s, spans.schema.field(self.start_s).type)
        return set_columns(spans, filled)


class VideoStage(TeacherStage):
    """The facial expression teacher, which takes face clips."""

    stage, probs, used_up = Stage.VIDEO_TEACHER, "video_probs", CLIPS.name

    def _load(self, config: LabelConfig, device: str) -> Any:  # noqa: ANN401 (one of several kinds)
        from liser_ray.teachers.video import load_video_teacher

        return load_video_teacher(config.video_teacher, device, config.precision)

    def _read(self, spans: pa.Table, row: int) -> SpanWindows | None:
        clips = bytes_in_place(spans[CLIPS.name], row).reshape(-1, *CLIP_SHAPE)
        if digest(clips) != spans["content_hash"][row].as_py()[CLIPS_HASH]:
            return None
        valid = np.array(spans["video_valid"][row].as_py(), np.float32) > 0
        start_s = np.array(spans["video_start_s"][row].as_py(), np.float32)
        return SpanWindows([clips[window] for window in np.flatnonzero(valid)], valid, start_s)  # views


class SpeechStage(TeacherStage):
    """The speech teachers, which take sound."""

    stage, probs, start_s = Stage.SPEECH_TEACHER, "speech_probs", "speech_start_s"

    def _load(self, config: LabelConfig, device: str) -> Any:  # noqa: ANN401 (see `TeacherStage`)
        from liser_ray.teachers.speech import load_speech_teachers  # Transformers: 10 s that the video need not wait

        return load_speech_teachers(config.speech_teachers, device, config.precision, config.speech_batch_size)

    def _read(self, spans: pa.Table, row: int) -> SpanWindows | None:
        from liser_ray.teachers.speech import speech_windows

        pcm = decode_flac(spans["audio"][row].as_py())
        if digest(pcm) != spans["content_hash"][row].as_py()[SOUND_HASH]:
            return None
        windows, start_s = speech_windows(pcm)
        return SpanWindows(windows, np.ones(len(windows), bool), start_s)


def predict_spans(
    predict: Callable[[Windows], np.ndarray], inputs: Sequence[Windows], stage: Stage
) -> list[np.ndarray | Problem]:
    """A teacher's softmaxes for each span's W windows: all in one call, and span by span if that fails.

    Returns:
        For each span float32 [W, K], or why there is none.
    """
    if not inputs:
        return []
    try:
        together = predict([window for one in inputs for window in one])
        if not np.isfinite(together).all():
            raise FloatingPointError("numbers that are not finite")
        return list(np.split(together, np.cumsum([len(one) for one in inputs])[:-1]))
    except Exception as error:  # whatever it is, it costs the spans it belongs to and not the job
        if len(inputs) == 1:
            _end_without_gpu(stage)
            log.warning("%s failed on a span: %s: %s", stage, type(error).__name__, error)
            return [Problem(stage, Reason.TEACHER_ERROR, f"{type(error).__name__}: {error}")]
        log.warning("%s failed on %d spans together (%s): now one by one", stage, len(inputs), error)
        return [predicted for one in inputs for predicted in predict_spans(predict, [one], stage)]


def _end_without_gpu(stage: Stage) -> None:
    """End this process if CUDA has failed for good in it (an uncorrectable error of the memory, an illegal access).

    Every later call would fail too, at once, and all spans that are left would end as failed. Ray starts another worker
    in its place and gives it the same spans.
    """
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        log.error("%s lost its GPU (%s): this worker ends, and another takes its spans", stage, error)
        os.kill(os.getpid(), signal.SIGKILL)
