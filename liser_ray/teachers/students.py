"""Trained students as a speech teacher: what several of them say together, for students that learn from it in turn.

Several networks that started from other weights and heard other parts of the speakers are better together than each by
itself, and surer where they are right: a teacher for those who have no pretrained one.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from liser_ray.errors import UserError
from liser_ray.prediction.torch_classifier import load_classifier
from liser_ray.student.card import CARD_FILE, WEIGHTS_FILE, StudentCard
from liser_ray.student.features import BandNormalisation, LogMel, recording_statistics
from liser_ray.student.front_end import SEGMENT_FRAMES, SEGMENT_SAMPLES
from liser_ray.student.network import EmotionClassifier
from liser_ray.teachers.speech_folders import STUDENTS_FOLDER

HEARS_SAMPLES = SEGMENT_SAMPLES
"""Samples around the middle of a 0.5-s window that a student hears."""


@dataclass(frozen=True)
class TrainedStudent:
    """A student from its folder.

    Attributes:
        card: what it says of itself.
        classifier: its network, in evaluation mode.
    """

    card: StudentCard
    classifier: EmotionClassifier


class StudentEnsemble(nn.Module):
    """The mean of several students' softmaxes.

    Args:
        students: at least one, of the same labels and the same normalisation.
    """

    def __init__(self, students: list[TrainedStudent]):
        super().__init__()
        kind = students[0].card.network.normalisation
        self._log_mel = LogMel()
        self._normalisation = BandNormalisation(kind) if students[0].card.of_recording else None
        self._classifiers = nn.ModuleList(student.classifier for student in students)
        self.eval()

    def forward(self, input_values: Tensor) -> SimpleNamespace:
        """Logarithms of the mean softmax, as ``logits`` float32 [N, K_S].

        Args:
            input_values: float32 [N, 48000], 16 kHz, -1..1. What a student does over a whole recording, it does over
                these 3 s.
        """
        log_mels = self._log_mel(input_values)
        if self._normalisation is not None:
            n_frames = torch.full((len(log_mels),), SEGMENT_FRAMES, device=log_mels.device)
            log_mels = self._normalisation(log_mels, recording_statistics(log_mels, n_frames))
        each = [classifier(log_mels).float().softmax(dim=-1) for classifier in self._classifiers]
        mean = torch.stack(each).mean(dim=0)
        return SimpleNamespace(logits=mean.clamp(min=torch.finfo(torch.float32).tiny).log())


def load_student(folder: Path) -> TrainedStudent:
    """A student from a local folder of `train_student.py`.

    Raises:
        UserError: it is none, or one that this version can't run.
    """
    try:
        card, weights = (folder / CARD_FILE).read_text(), (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise UserError(f"{folder} is no whole student: {error}") from error
    parsed = StudentCard.parse(card, str(folder / CARD_FILE))
    return TrainedStudent(parsed, load_classifier(weights, parsed))


def load_ensemble(folder: Path) -> StudentEnsemble:
    """The students of a teacher's folder, together.

    Args:
        folder: a local one that `student_teachers.py` has written; its students lie below ``students``.

    Raises:
        UserError: there are none, or of different labels or normalisations.
    """
    students = [load_student(one) for one in sorted((folder / STUDENTS_FOLDER).iterdir()) if one.is_dir()]
    return StudentEnsemble(check_alike(students, str(folder)))


def check_alike(students: list[TrainedStudent], where: str) -> list[TrainedStudent]:
    """The students themselves, if they can speak together.

    Raises:
        UserError: there are none, or of different labels or normalisations.
    """
    kinds = {(student.card.labels, student.card.network.normalisation) for student in students}
    if len(kinds) != 1:
        what = "students of different labels or normalisations" if kinds else "no students"
        raise UserError(f"{where} has {what}: give the output of one train_student.py job.")
    return students
