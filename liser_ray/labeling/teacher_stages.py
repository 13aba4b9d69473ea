"""The stages that label: face clips and sound become softmaxes. A teacher that fails costs a row, never the job."""

import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import torch

from liser_ray.labeling.rows import open_rows, with_problems
from liser_ray.labeling.schema import CLIPS, list_column, set_columns
from liser_ray.media.span import decode_flac, digest
from liser_ray.outcome import Problem, Reason, Stage
from liser_ray.teachers.config import Precision, VideoTeacherConfig
from liser_ray.teachers.speech import load_speech_teachers, speech_windows
from liser_ray.teachers.video import load_video_teacher

log = logging.getLogger(__name__)

CLIP_SHAPE = (16, 224, 224, 3)
_HASH_HALF = 32  # content_hash: 32 hex digits of the sound, then 32 of the clips


class VideoStage:
    """Actor: the video teacher's softmax for each valid window; takes the clips away."""

    def __init__(self, config: VideoTeacherConfig, precision: Precision):
        self._teacher = load_video_teacher(config, _device(), precision)

    def __call__(self, spans: pa.Table) -> pa.Table:
        """Windows of all spans go through the teacher together; windows without the face get zeros."""
        n_labels = len(self._teacher.labels)
        clips, valid, problems = [], [], {}
        rows = open_rows(spans)
        for row in rows:
            data = np.frombuffer(spans[CLIPS.name][row].as_buffer(), np.uint8).reshape(-1, *CLIP_SHAPE)
            if digest(data) != spans["content_hash"][row].as_py()[_HASH_HALF:]:
                problems[row] = Problem(Stage.VIDEO_TEACHER, Reason.HASH_MISMATCH, "clips changed on their way")
            clips.append(data)
            valid.append(np.array(spans["video_valid"][row].as_py(), np.float32) > 0)
        answers = ask(self._teacher, [one[mask] for one, mask in zip(clips, valid, strict=True)], Stage.VIDEO_TEACHER)
        probs = [np.empty((0, n_labels), np.float32)] * len(spans)
        for row, mask, answer in zip(rows, valid, answers, strict=True):
            if isinstance(answer, Problem):
                problems.setdefault(row, answer)
                continue
            probs[row] = np.zeros((len(mask), n_labels), np.float32)
            probs[row][mask] = answer
        spans = spans.drop_columns([CLIPS.name])
        columns = {"video_probs": list_column(probs, spans.schema.field("video_probs").type)}
        return with_problems(set_columns(spans, columns), problems)


class SpeechStage:
    """Actor: every speech teacher's softmax for each window of 0.5 s."""

    def __init__(self, specs: Sequence[str], precision: Precision, batch_size: int):
        self._teachers = load_speech_teachers(specs, _device(), precision, batch_size)

    def __call__(self, spans: pa.Table) -> pa.Table:
        """Windows of all spans go through the teachers together."""
        windows, starts, problems = [], [np.empty(0, np.float32)] * len(spans), {}
        rows = open_rows(spans)
        for row in rows:
            pcm = decode_flac(spans["audio"][row].as_py())
            if digest(pcm) != spans["content_hash"][row].as_py()[:_HASH_HALF]:
                problems[row] = Problem(Stage.SPEECH_TEACHER, Reason.HASH_MISMATCH, "sound changed on its way")
            of_span, starts[row] = speech_windows(pcm)
            windows.append(of_span)
        answers = ask(self._softmaxes, windows, Stage.SPEECH_TEACHER)
        n_labels = [len(teacher.labels) for teacher in self._teachers.teachers]
        probs = [np.empty((0, sum(n_labels)), np.float32)] * len(spans)
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, Problem):
                problems.setdefault(row, answer)
            else:
                probs[row] = answer
        schema = spans.schema
        speech_type = schema.field("speech_probs").type
        ends = np.cumsum(n_labels)
        per_teacher = [
            list_column([row[:, end - n : end] for row in probs], one.type)
            for one, n, end in zip(speech_type, n_labels, ends, strict=True)
        ]
        columns = {
            "speech_start_s": list_column(starts, schema.field("speech_start_s").type),
            "speech_probs": pa.StructArray.from_arrays(per_teacher, fields=list(speech_type)),
        }
        return with_problems(set_columns(spans, columns), problems)

    def _softmaxes(self, windows: np.ndarray) -> np.ndarray:
        """All teachers' softmaxes side by side, float32 [N, sum of K_S]."""
        answers = self._teachers(windows)
        return np.concatenate([answers[teacher.name] for teacher in self._teachers.teachers], axis=1)


def ask(
    teacher: Callable[[np.ndarray], np.ndarray], inputs: Sequence[np.ndarray], stage: Stage
) -> list[np.ndarray | Problem]:
    """A teacher's answer for each span: all windows in one call, and span by span if that fails.

    Args:
        teacher: float32 [N, K] for windows [N, ...].
        inputs: the windows of each span, [W, ...].
        stage: for the problem's text.

    Returns:
        For each span its rows of the answer, float32 [W, K], or why there is none.
    """
    if not inputs:
        return []
    try:
        together = teacher(np.concatenate(inputs) if len(inputs) > 1 else inputs[0])
        if not np.isfinite(together).all():
            raise FloatingPointError("numbers that are not finite")
        return list(np.split(together, np.cumsum([len(one) for one in inputs])[:-1]))
    except Exception as error:  # whatever it is, it costs the spans it belongs to and not the job
        if len(inputs) == 1:
            log.warning("%s failed on a span: %s: %s", stage, type(error).__name__, error)
            return [Problem(stage, Reason.TEACHER_ERROR, f"{type(error).__name__}: {error}")]
        log.warning("%s failed on %d spans together (%s), asking them one by one", stage, len(inputs), error)
        return [answer for one in inputs for answer in ask(teacher, [one], stage)]


def _device() -> str:
    """``cuda`` where Ray gave this actor a GPU, else ``cpu`` with all its cores (Ray would allow one thread)."""
    if torch.cuda.is_available():
        return "cuda"
    torch.set_num_threads(os.cpu_count() or 1)
    return "cpu"
