"""How good a teacher is on recordings it never heard: whole ones, and the way the labeling job listens."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.finetuning.task import score_recordings
from liser_ray.results.metrics import confidence_auroc, confusion_matrix, expected_calibration_error, uar, war
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_models import SpeechModel
from liser_ray.teachers.targets import HeldOut
from liser_ray.teachers.temperature import with_temperature
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.precision import Precision

HEARINGS = {"windows": WINDOW_S, "windows_of_3s": 3.0}
"""Ways of hearing a recording's 0.5-s windows, and the seconds that are heard for each."""


@dataclass(frozen=True)
class Predictions:
    """A teacher's answers for N recordings, whole and as the means of their 0.5-s windows, which a student gets.

    Attributes:
        truth: int64 [N].
        by_recording: softmaxes float32 [N, K] of whole recordings.
        by_window: of each way of hearing the means of their windows, likewise.
        window_truth: of every single window, int64 [W].
        windows: of each way of hearing, softmaxes float32 [W, K].
    """

    truth: np.ndarray
    by_recording: np.ndarray
    by_window: dict[str, np.ndarray]
    window_truth: np.ndarray
    windows: dict[str, np.ndarray]


def predict(
    model: SpeechModel, speech: LabeledSpeech, indices: np.ndarray, device: torch.device, precision: Precision
) -> Predictions:
    """Ask a teacher about recordings, in all ways."""
    logits = score_recordings(model.network, speech, indices, model.prepare, device, precision)
    counts, found = [], {}
    for name, hears_s in HEARINGS.items():
        teacher = SpeechTeacher("teacher", [model], device, precision, hears_s=hears_s)
        windows = [sound_windows(speech.waveform(i), WINDOW_S, WINDOW_S, hears_s)[0] for i in indices]
        counts = [len(one) for one in windows]
        found[name] = teacher([window for one in windows for window in one])[model.name].values
    truth, ends = speech.label_index[indices], np.cumsum(counts)[:-1]
    return Predictions(
        truth=truth,
        by_recording=softmax(logits, axis=1).astype(np.float32),
        by_window={name: np.stack([one.mean(axis=0) for one in np.split(of, ends)]) for name, of in found.items()},
        window_truth=np.repeat(truth, counts),
        windows=found,
    )


def score(predictions: Predictions, temperatures: Mapping[str, float]) -> dict[str, Any]:
    """Scores for JSON: of "recordings", and of each way of hearing by the mean of a recording's windows.

    The calibration error of single windows is given without and with a temperature that was fitted to other recordings.
    """
    n_labels = predictions.by_recording.shape[1]
    scores: dict[str, Any] = {"n_recordings": len(predictions.truth)}
    for name, probs in ({"recordings": predictions.by_recording} | predictions.by_window).items():
        scores[name] = score_confusion(confusion_matrix(predictions.truth, probs.argmax(axis=1), n_labels))
    for name, probs in predictions.windows.items():
        confusion = confusion_matrix(predictions.window_truth, probs.argmax(axis=1), n_labels)
        scores[name]["single_window_uar"] = round(uar(confusion), 4)
        for suffix, at in (("", probs), ("_with_temperature", with_temperature(probs, temperatures[name]))):
            error = expected_calibration_error(at, predictions.window_truth)
            scores[name][f"calibration_error{suffix}"] = round(error, 4)
    return scores


def score_held_out(predictions: Predictions, temperatures: Mapping[str, float]) -> dict[str, Any]:
    """A `HeldOut` of each way of hearing, by the seconds that are heard, for JSON: of the means of windows.

    Those are what a student learns from, and their largest probability at the temperature is the confidence.
    """
    found = {}
    for name, hears_s in HEARINGS.items():
        probs, truth = predictions.by_window[name], predictions.truth
        confusion = confusion_matrix(truth, probs.argmax(axis=1), probs.shape[1])
        auroc = confidence_auroc(with_temperature(probs, temperatures[name]), truth)
        found[str(hears_s)] = asdict(HeldOut(round(uar(confusion), 4), None if auroc is None else round(auroc, 4)))
    return found


def score_confusion(confusion: np.ndarray) -> dict[str, Any]:
    """UAR, WAR and the counts of a confusion matrix int64 [K, K], for JSON."""
    return {"uar": round(uar(confusion), 4), "war": round(war(confusion), 4), "confusion": confusion.tolist()}
