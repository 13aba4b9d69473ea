"""How good a teacher is on recordings it never heard, in every way in which it is asked about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from liser_ray.results.metrics import confidence_auroc, confusion_matrix, expected_calibration_error, uar, war
from liser_ray.teachers.targets import HeldOut
from liser_ray.teachers.temperature import fit_temperature, logarithms, with_temperature


class Way(NamedTuple):
    """A teacher's answers in one of the ways in which the labeling job may ask it about N recordings.

    Attributes:
        hears_s: seconds that go in for each window; 0: all that the window is.
        by_recording: softmaxes float32 [N, K], the means over a recording's windows, which a student learns from.
        truth: of every single window, int64 [W].
        windows: softmaxes float32 [W, K].
    """

    hears_s: float
    by_recording: np.ndarray
    truth: np.ndarray
    windows: np.ndarray


@dataclass(frozen=True)
class Predictions:
    """A teacher's answers for N recordings.

    Attributes:
        truth: int64 [N].
        by_recording: softmaxes float32 [N, K] of whole recordings.
        ways: in which the labeling job may ask, by name.
    """

    truth: np.ndarray
    by_recording: np.ndarray
    ways: dict[str, Way]

    @classmethod
    def of_wholes(cls, by_recording: np.ndarray, truth: np.ndarray) -> "Predictions":
        """Of a teacher whose window is the whole recording, as its only way."""
        return cls(truth, by_recording, {"recordings": Way(0.0, by_recording, truth, by_recording)})


def fit_temperatures(held_out: Predictions) -> dict[str, float]:
    """The temperature of single windows, of each way."""
    return {name: fit_temperature(logarithms(way.windows), way.truth) for name, way in held_out.ways.items()}


def score(predictions: Predictions, temperatures: Mapping[str, float]) -> dict[str, Any]:
    """Scores for JSON: of "recordings", and of each way by the mean of a recording's windows.

    The calibration error of single windows is given without and with a temperature that was fitted to other recordings.
    """
    n_labels = predictions.by_recording.shape[1]
    scores: dict[str, Any] = {"n_recordings": len(predictions.truth)}
    means = {name: way.by_recording for name, way in predictions.ways.items()}
    for name, probs in ({"recordings": predictions.by_recording} | means).items():
        scores[name] = score_confusion(confusion_matrix(predictions.truth, probs.argmax(axis=1), n_labels))
    for name, way in predictions.ways.items():
        confusion = confusion_matrix(way.truth, way.windows.argmax(axis=1), n_labels)
        scores[name]["single_window_uar"] = round(uar(confusion), 4)
        for suffix, at in (("", way.windows), ("_with_temperature", with_temperature(way.windows, temperatures[name]))):
            error = expected_calibration_error(at, way.truth)
            scores[name][f"calibration_error{suffix}"] = round(error, 4)
    return scores


def score_held_out(predictions: Predictions, temperatures: Mapping[str, float], speakers: int) -> dict[str, Any]:
    """A `HeldOut` of each way, by the seconds that are heard, for JSON: of the means of windows of so many speakers.

    Those are what a student learns from, and their largest probability at the temperature is the confidence.
    """
    found = {}
    for name, way in predictions.ways.items():
        confusion = confusion_matrix(predictions.truth, way.by_recording.argmax(axis=1), way.by_recording.shape[1])
        auroc = confidence_auroc(with_temperature(way.by_recording, temperatures[name]), predictions.truth)
        found[str(way.hears_s)] = HeldOut(
            uar=round(uar(confusion), 4),
            confidence_auroc=None if auroc is None else round(auroc, 4),
            hears_s=way.hears_s,
            speakers=speakers,
            recordings=len(predictions.truth),
        ).to_json()
    return found


def score_confusion(confusion: np.ndarray) -> dict[str, Any]:
    """UAR, WAR and the counts of a confusion matrix int64 [K, K], for JSON."""
    return {"uar": round(uar(confusion), 4), "war": round(war(confusion), 4), "confusion": confusion.tolist()}
