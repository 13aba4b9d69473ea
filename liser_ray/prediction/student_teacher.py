"""Trained students that are asked as a teacher."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from liser_ray.prediction.prediction import softmax
from liser_ray.prediction.student import Student
from liser_ray.prediction.teacher import Options
from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256
from liser_ray.student.front_end import SEGMENT_S, SEGMENT_SAMPLES, frame_count
from liser_ray.teachers.batches import Windows
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.teachers.patterns import expanded
from liser_ray.teachers.targets import HeldOut, Target
from liser_ray.teachers.teacher import Answer, Teacher
from liser_ray.training.precision import Precision

_HINT = "Give the folder of a trained student: student=student:out/student/seed-0-fold-0."


class StudentTeacher(Teacher):
    """One or more students, by the names of their targets, asked about the same windows."""

    hears_s = SEGMENT_S

    def __init__(self, targets: Sequence[Target], students: Mapping[str, Student], batch_size: int):
        self.targets, self.batch_size = tuple(targets), batch_size
        self._students = students

    def __call__(self, windows: Windows) -> dict[str, Answer]:
        """Softmaxes of N windows float32 [48000], 16 kHz, -1..1."""
        batches = [windows[first : first + self.batch_size] for first in range(0, len(windows), self.batch_size)]
        return {name: Answer(_ask(student, batches)) for name, student in self._students.items()}


def load_student_teacher(name: str, options: Options, device: torch.device, _: Precision) -> StudentTeacher:
    """Students from their folders, in float32 in any case; see `liser_ray.prediction.teacher`."""
    students, targets = {}, []
    for target, address in expanded(name, options.weights).items():
        path = fetch(address, _HINT)
        students[target] = student = Student.from_pretrained(path, str(device))
        if len(student.labels) < 2:
            raise UserError(
                f"{address} gives {', '.join(student.card.attributes)} alone and names no emotion: give a student with "
                "labels."
            )
        validation_uar = student.card.content.get("validation_uar")
        targets.append(
            Target(
                name=target,
                kind="distribution",
                labels=student.labels,
                window_s=WINDOW_S,
                hop_s=WINDOW_S,
                sha256=sha256(path),
                teacher=name,
                tuned_on=student.card.tuned_on,
                temperature=student.card.temperature,
                held_out=None if validation_uar is None else HeldOut(validation_uar, None),
            )
        )
    return StudentTeacher(targets, students, options.batch_size)


def _ask(student: Student, batches: Sequence[Windows]) -> np.ndarray:
    """Softmaxes float32 [N, K] of 3-s windows, each as of a recording of its own."""
    logits = [np.zeros((0, len(student.labels) + len(student.card.attributes)), np.float32)]
    for batch in batches:
        if student.card.of_recording:
            for window in batch:
                statistics = student.backend.statistics(window, (0, frame_count(SEGMENT_SAMPLES)), None)
                logits.append(student.backend.window_logits(window, SEGMENT_SAMPLES, statistics))
        else:
            logits.append(student.backend.window_logits(np.concatenate(list(batch)), SEGMENT_SAMPLES, None))
    return softmax(np.concatenate(logits)[:, : len(student.labels)])
