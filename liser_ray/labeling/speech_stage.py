"""The stage of the speech teachers: sound becomes softmaxes."""

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from liser_ray.labeling.asking import ask
from liser_ray.labeling.meter import Tell, Work, slots, untold
from liser_ray.labeling.rows import open_rows, with_problems
from liser_ray.labeling.schema import list_column, set_columns
from liser_ray.media.flac import decode_flac
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.media.span import SOUND_HASH, digest
from liser_ray.teachers.batches import Windows, choose_device
from liser_ray.teachers.speech import load_speech_teachers, speech_windows
from liser_ray.training.precision import Precision


class SpeechStage:
    """Actor: every speech teacher's softmax for each window of 0.5 s."""

    def __init__(
        self,
        specs: Sequence[str],
        precision: Precision,
        batch_size: int,
        tell: Tell = untold,
        has_gpu: bool = False,
    ):
        self._tell = tell
        self._teachers = load_speech_teachers(specs, choose_device(has_gpu), precision, batch_size)

    def __call__(self, spans: pa.Table) -> pa.Table:
        """Windows of all spans go through the teachers together."""
        started = time.monotonic()
        windows, starts, problems = [], [np.empty(0, np.float32)] * len(spans), {}
        rows = open_rows(spans)
        for row in rows:
            pcm = decode_flac(spans["audio"][row].as_py())
            if digest(pcm) != spans["content_hash"][row].as_py()[SOUND_HASH]:
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
        n_windows = sum(len(one) for one in windows)
        if rows:
            busy_s = time.monotonic() - started
            self._tell(Work(len(rows), len(problems), busy_s, n_windows, slots(n_windows, self._teachers.batch_size)))
        return with_problems(set_columns(spans, columns), problems)

    def _softmaxes(self, windows: Windows) -> np.ndarray:
        """All teachers' softmaxes side by side, float32 [N, sum of K_S]."""
        answers = self._teachers(windows)
        return np.concatenate([answers[teacher.name] for teacher in self._teachers.teachers], axis=1)
