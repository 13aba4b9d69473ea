"""The stage of the video teacher: face clips become softmaxes."""

import time

import numpy as np
import pyarrow as pa

from liser_ray.labeling.asking import ask
from liser_ray.labeling.meter import Tell, Work, slots, untold
from liser_ray.labeling.rows import open_rows, with_problems
from liser_ray.labeling.schema import CLIPS, bytes_in_place, list_column, set_columns
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.media.span import CLIPS_HASH, digest
from liser_ray.teachers.batches import choose_device
from liser_ray.teachers.config import VideoTeacherConfig
from liser_ray.teachers.video import load_video_teacher
from liser_ray.training.precision import Precision

CLIP_SHAPE = (16, 224, 224, 3)


class VideoStage:
    """Actor: the video teacher's softmax for each valid window; takes the clips away."""

    def __init__(self, config: VideoTeacherConfig, precision: Precision, tell: Tell = untold, has_gpu: bool = False):
        self._tell = tell
        self._teacher = load_video_teacher(config, choose_device(has_gpu), precision)

    def __call__(self, spans: pa.Table) -> pa.Table:
        """Windows of all spans go through the teacher together; windows without the face get zeros."""
        started = time.monotonic()
        n_labels = len(self._teacher.labels)
        clips: list[list[np.ndarray]] = []
        valid, problems = [], {}
        rows = open_rows(spans)
        for row in rows:
            data = bytes_in_place(spans[CLIPS.name], row).reshape(-1, *CLIP_SHAPE)
            if digest(data) != spans["content_hash"][row].as_py()[CLIPS_HASH]:
                problems[row] = Problem(Stage.VIDEO_TEACHER, Reason.HASH_MISMATCH, "clips changed on their way")
            valid.append(np.array(spans["video_valid"][row].as_py(), np.float32) > 0)
            clips.append([data[window] for window in np.flatnonzero(valid[-1])])  # views
        answers = ask(self._teacher, clips, Stage.VIDEO_TEACHER)
        probs = [np.empty((0, n_labels), np.float32)] * len(spans)
        for row, mask, answer in zip(rows, valid, answers, strict=True):
            if isinstance(answer, Problem):
                problems.setdefault(row, answer)
                continue
            probs[row] = np.zeros((len(mask), n_labels), np.float32)
            probs[row][mask] = answer
        spans = spans.drop_columns([CLIPS.name])
        columns = {"video_probs": list_column(probs, spans.schema.field("video_probs").type)}
        n_windows = sum(int(mask.sum()) for mask in valid)
        if rows:
            busy_s = time.monotonic() - started
            self._tell(Work(len(rows), len(problems), busy_s, n_windows, slots(n_windows, self._teacher.batch_size)))
        return with_problems(set_columns(spans, columns), problems)
