"""How good a teacher is on recordings it never heard: whole ones, and the way the labeling job listens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.results.metrics import confusion_matrix, expected_calibration_error, uar, war
from liser_ray.teachers.finetuning.task import score_recordings
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.temperature import with_temperature
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.precision import Precision


@dataclass(frozen=True)
class Predictions:
    """A teacher's answers for N recordings, whole and as the means of their 0.5-s windows, which a student gets.

    Attributes:
        truth: int64 [N].
        by_recording, by_window: softmaxes float32 [N, K].
        window_truth, windows: of every single window, int64 [W] and softmaxes float32 [W, K].
    """

    truth: np.ndarray
    by_recording: np.ndarray
    by_window: np.ndarray
    window_truth: np.ndarray
    windows: np.ndarray


def predict(
    teacher: SpeechTeacher, speech: LabeledSpeech, indices: np.ndarray, device: torch.device, precision: Precision
) -> Predictions:
    """Ask a teacher of one target about recordings, both ways."""
    (model,), (target,) = teacher.models, teacher.targets
    logits = score_recordings(model.network, speech, indices, model.zero_mean_unit_variance, device, precision)
    windows = [sound_windows(speech.waveform(i), target.window_s, target.hop_s)[0] for i in indices]
    of_windows = teacher(np.concatenate(windows))[target.name].values
    ends = np.cumsum([len(one) for one in windows])
    truth = speech.label_index[indices]
    return Predictions(
        truth=truth,
        by_recording=softmax(logits, axis=1).astype(np.float32),
        by_window=np.stack([one.mean(axis=0) for one in np.split(of_windows, ends[:-1])]),
        window_truth=np.repeat(truth, [len(one) for one in windows]),
        windows=of_windows,
    )


def score(predictions: Predictions, temperature: float) -> dict[str, Any]:
    """Scores as numbers and lists, for JSON: "recordings" and "windows" (the mean of a recording's windows).

    The calibration error of single windows is given without and with a temperature that was fitted to other recordings.
    """
    n_labels = predictions.windows.shape[1]
    scores: dict[str, Any] = {"n_recordings": len(predictions.truth)}
    for name, probs in (("recordings", predictions.by_recording), ("windows", predictions.by_window)):
        scores[name] = score_confusion(confusion_matrix(predictions.truth, probs.argmax(axis=1), n_labels))
    calibrated = with_temperature(predictions.windows, temperature)
    for name, probs in (("", predictions.windows), ("_with_temperature", calibrated)):
        error = expected_calibration_error(probs, predictions.window_truth)
        scores["windows"][f"calibration_error{name}"] = round(error, 4)
    return scores


def score_confusion(confusion: np.ndarray) -> dict[str, Any]:
    """UAR, WAR and the counts of a confusion matrix int64 [K, K], for JSON."""
    return {"uar": round(uar(confusion), 4), "war": round(war(confusion), 4), "confusion": confusion.tolist()}
