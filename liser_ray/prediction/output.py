"""Predictions as they come: a table to read, CSV, or JSON lines."""

import csv
import json
import sys
from collections.abc import Callable
from typing import Literal, TextIO

import numpy as np

from liser_ray.prediction.prediction import Prediction

Format = Literal["text", "csv", "json"]

UNSURE = "unsure"
"""What is said where no label is probable enough."""

_BAR_WIDTH = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDEST_NAME = 60


class Output:
    """Writes predictions, one recording after the other.

    Args:
        form: which of the three.
        labels: that there are.
        widest: characters of the longest name that is to come.
        timeline: a line for each window as well; in CSV, instead of one for each recording.
        abstain_below: answers with less than this probability are "unsure".
        write: is given each line, without its end.
    """

    def __init__(
        self,
        form: Format,
        labels: tuple[str, ...],
        widest: int,
        timeline: bool,
        abstain_below: float,
        write: Callable[[str], None] = print,
    ):
        self._form = form
        self._labels = labels
        self._timeline = timeline
        self._abstain_below = abstain_below
        self._write = write
        self._name_width = min(_WIDEST_NAME, max(len("file"), widest))
        self._label_width = max(len("emotion"), *map(len, labels))
        self._begun = False

    def add(self, name: str, prediction: Prediction) -> None:
        """What was predicted of a recording."""
        self._begin()
        windows = [
            (float(start), float(end), probabilities)
            for start, end, probabilities in zip(
                prediction.window_start_s, prediction.window_end_s, prediction.window_probabilities, strict=True
            )
        ]
        if self._form == "json":
            self._write(json.dumps(self._as_json(name, prediction, windows if self._timeline else None)))
        elif self._form == "csv":
            whole = (0.0, prediction.duration_s, prediction.probabilities)
            for start, end, probabilities in windows if self._timeline else [whole]:
                answer = self._answer(prediction, probabilities)
                self._csv_row(name, f"{start:.3f}", f"{end:.3f}", *answer, *(f"{p:.4f}" for p in probabilities), "")
        else:
            self._write(f"{name:<{self._name_width}}  {self._shown(prediction, prediction.probabilities)}")
            for start, end, probabilities in windows if self._timeline else ():
                self._write(f"{start:8.1f} - {end:6.1f} s  {self._shown(prediction, probabilities)}")

    def fail(self, name: str, why: str) -> None:
        """A recording that there is no prediction of; in a table to read it is an error message."""
        if self._form == "text":
            print(f"error: {name}: {why}", file=sys.stderr, flush=True)
            return
        self._begin()
        if self._form == "json":
            self._write(json.dumps({"file": name, "error": why}))
        else:
            self._csv_row(name, "", "", "", "", *("" for _ in self._labels), why)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._form == "csv":
            self._csv_row("file", "start_s", "end_s", "emotion", "probability", *self._labels, "error")
        elif self._form == "text":
            self._write(f"{'file':<{self._name_width}}  {'emotion':<{self._label_width}}  probability")

    def _answer(self, prediction: Prediction, probabilities: np.ndarray) -> tuple[str, str]:
        best = int(probabilities.argmax())
        sure = probabilities[best] >= self._abstain_below
        return prediction.labels[best] if sure else UNSURE, f"{probabilities[best]:.4f}"

    def _shown(self, prediction: Prediction, probabilities: np.ndarray) -> str:
        answer, _ = self._answer(prediction, probabilities)
        return f"{answer:<{self._label_width}}  {probabilities.max():.2f} {bar(float(probabilities.max()))}".rstrip()

    def _as_json(
        self, name: str, prediction: Prediction, windows: list[tuple[float, float, np.ndarray]] | None
    ) -> dict[str, object]:
        def said(probabilities: np.ndarray) -> dict[str, object]:
            answer, probability = self._answer(prediction, probabilities)
            shares = {label: round(float(p), 4) for label, p in zip(prediction.labels, probabilities, strict=True)}
            return {"emotion": answer, "probability": float(probability), "probabilities": shares}

        found = {"file": name, "duration_s": round(prediction.duration_s, 3), **said(prediction.probabilities)}
        if windows is not None:
            found["windows"] = [{"start_s": start, "end_s": end, **said(shares)} for start, end, shares in windows]
        return found

    def _csv_row(self, *values: str) -> None:
        line = _Line()
        csv.writer(line, lineterminator="").writerow(values)
        self._write(line.text)


class _Line:
    """A file that keeps what was written last."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def bar(share: float) -> str:
    """A bar of up to ten characters."""
    eighths = round(share * _BAR_WIDTH * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip()


def printer(stream: TextIO) -> Callable[[str], None]:
    """Writes lines at once, so that they can be followed through a pipe."""
    return lambda line: print(line, file=stream, flush=True)
