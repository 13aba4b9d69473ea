"""Teachers' folders made of trained students: one per fold, with their weights and the card of what they have heard."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import LabeledSpeech, load_labeled_speech
from liser_ray.corpora.utterance import sorted_speakers
from liser_ray.errors import UserError
from liser_ray.metrics import confusion_matrix, expected_calibration_error, uar, war
from liser_ray.storage.fetch import fetch
from liser_ray.storage.files import check_writable, join, normalise, write_bytes
from liser_ray.student.card import CARD_FILE, WEIGHTS_FILE
from liser_ray.teachers.bundles import BUNDLE_FILE, FORMAT
from liser_ray.teachers.calibration import fit_temperature, logarithms, with_temperature
from liser_ray.teachers.speech import SpeechTeacher, SpeechTeachers, speech_windows
from liser_ray.teachers.speech_folders import STUDENTS_FOLDER
from liser_ray.teachers.students import HEARS_SAMPLES, StudentEnsemble, TrainedStudent, check_alike, load_student


@dataclass(frozen=True)
class StudentTeachersConfig:
    """Make speech teachers of trained students, one per fold.

    Attributes:
        students: output of train_student.py, a folder or s3:// prefix: all its seeds of a fold become one teacher.
        labeled: the labeled set that they were trained on, as in train_student.py.
        output: folder or s3:// prefix for fold-0, fold-1 ...
    """

    students: str = ""
    labeled: str = ""
    output: str = "out/student-teachers"


def make_student_teachers(config: StudentTeachersConfig) -> dict[int, dict[str, Any]]:
    """Write a teacher of the students of each fold; the cards, by fold.

    Raises:
        UserError: no students, of another set, or students that have heard what nobody may.
    """
    if not config.students or not config.labeled:
        raise UserError("Give --students, the output of train_student.py, and --labeled, the set they learned from.")
    root = fetch(config.students)
    folders = {path: load_student(path) for path in sorted(root.glob("seed-*-fold-*")) if (path / CARD_FILE).is_file()}
    check_alike(list(folders.values()), config.students)
    check_writable(normalise(config.output))
    speech = load_labeled_speech(read_labeled_set(config.labeled))
    cards = {}
    for fold in sorted({student.card.content["fold"] for student in folders.values()}):
        of_fold = {path: one for path, one in folders.items() if one.card.content["fold"] == fold}
        cards[fold] = _card(list(of_fold.values()), speech)
        _write(join(normalise(config.output), f"fold-{fold}"), of_fold, cards[fold])
    return cards


def _card(students: Sequence[TrainedStudent], speech: LabeledSpeech) -> dict[str, Any]:
    contents = [student.card.content for student in students]
    first = contents[0]
    if (first["labeled"], tuple(first["labels"])) != (speech.name, speech.labels):
        raise UserError(f"The students learned from {first['labeled']}, --labeled is {speech.name}: give theirs.")
    if any(one["facts"]["recipe"]["train"].get("keep") != "last" for one in contents):
        raise UserError(
            "These students' epochs were picked by the validation speakers, on whom their students would be scored. "
            "Train them with --train.keep last, as --recipe strong does."
        )
    parts = ("train", "held_out")
    train, held_out = ({name for one in contents for name in one["speakers"].get(part, [])} for part in parts)
    softmaxes, truth = _of_held_out(students, speech)
    temperature = fit_temperature(logarithms(softmaxes), truth) if len(truth) else 1.0
    together = _ask(list(students), speech, speech.of_speakers(first["speakers"]["test"]))
    return {
        "format": FORMAT,
        "labeled": speech.name,
        "labels": list(speech.labels),
        "fold": first["fold"],
        "recipe": first["recipe"],
        "seeds": [one["seed"] for one in contents],
        "speakers": {
            "train": list(sorted_speakers(train)),
            "selection": list(sorted_speakers(held_out)),  # by one student or another: they choose the temperature
            "test": first["speakers"]["test"],
        },
        "n_calibration_windows": len(truth),
        "temperature": temperature,
        "scores": _score(*together, temperature),
    }


def _of_held_out(students: Sequence[TrainedStudent], speech: LabeledSpeech) -> tuple[np.ndarray, np.ndarray]:
    """Softmaxes float32 [W, K] of each student for windows of speakers whom it has not heard, and labels int64 [W]."""
    found = [np.empty((0, len(speech.labels)), np.float32)]
    truth = [np.empty(0, np.int64)]
    for student in students:
        indices = speech.of_speakers(student.card.content["speakers"].get("held_out", []))
        if len(indices):
            windows, labels, _ = _ask([student], speech, indices)
            found.append(windows)
            truth.append(labels)
    return np.concatenate(found), np.concatenate(truth)


def _ask(
    students: list[TrainedStudent], speech: LabeledSpeech, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Softmaxes of 0.5-s windows float32 [W, K], the label of each, and how many each recording has, both int64."""
    ensemble = StudentEnsemble(students)
    teacher = SpeechTeacher("students", speech.labels, "", ensemble, False, hears_samples=HEARS_SAMPLES)
    ask = SpeechTeachers([teacher], "cpu", "float32", batch_size=32)
    softmaxes = [ask(speech_windows(speech.waveform(int(i)), HEARS_SAMPLES)[0])["students"] for i in indices]
    n_windows = np.array([len(one) for one in softmaxes], np.int64)
    return np.concatenate(softmaxes), np.repeat(speech.label_index[indices], n_windows), n_windows


def _score(softmaxes: np.ndarray, truth: np.ndarray, n_windows: np.ndarray, temperature: float) -> dict[str, Any]:
    """On the test speakers: of recordings by the mean of their windows, and how far windows are from their sureness."""
    firsts = np.cumsum(n_windows) - n_windows
    predicted = np.add.reduceat(softmaxes, firsts, axis=0).argmax(axis=1)
    confusion = confusion_matrix(truth[firsts], predicted, softmaxes.shape[1])
    errors = [expected_calibration_error(one, truth) for one in (softmaxes, with_temperature(softmaxes, temperature))]
    return {
        "n_recordings": len(n_windows),
        "uar": round(uar(confusion), 4),
        "war": round(war(confusion), 4),
        "confusion": confusion.tolist(),
        "calibration_error": round(errors[0], 4),
        "calibration_error_with_temperature": round(errors[1], 4),
    }


def _write(uri: str, students: dict[Path, TrainedStudent], card: dict[str, Any]) -> None:
    for path in students:
        for name in (CARD_FILE, WEIGHTS_FILE):
            write_bytes(join(uri, f"{STUDENTS_FOLDER}/{path.name}/{name}"), (path / name).read_bytes())
    write_bytes(join(uri, BUNDLE_FILE), json.dumps(card, indent=1).encode() + b"\n")  # last: it says "done"
