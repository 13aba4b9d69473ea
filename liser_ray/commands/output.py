"""Predictions as they come: a table to read, CSV, or JSON lines."""

import csv
import json
import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from liser_ray.prediction.prediction import Prediction

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class _Answer(NamedTuple):
    shares: np.ndarray
    attributes: tuple[float, ...]
    unlike: bool


class Output:
    """Prints predictions, one recording after the other; line by line, so that they can be followed through a pipe.

    Args:
        form: "text", "csv" or "json".
        labels: that there are.
        attributes: that there are.
        widest: characters of the longest name that is to come.
        timeline: a line for each window as well; in CSV, instead of one for each recording.
        abstain_below: answers with less than this probability are "unsure", and if it is above 0 all those on
            recordings that are unlike the training's.
    """

    def __init__(
        self,
        form: str,
        labels: tuple[str, ...],
        attributes: tuple[str, ...],
        widest: int,
        timeline: bool,
        abstain_below: float,
    ):
        self._form = form
        self._labels = labels
        self._attributes = attributes
        self._names = len(labels) > 1  # without labels it gives attributes alone
        self._timeline = timeline
        self._abstain_below = abstain_below
        self._name_width = min(60, max(len("file"), widest))
        self._label_width = max(len("emotion"), *map(len, labels))
        self._has_header = form == "json"

    def add(self, name: str, prediction: Prediction) -> None:
        """What was predicted of a recording."""
        unlike = bool(prediction.unlike)
        starts, ends = prediction.window_start_s.tolist(), prediction.window_end_s.tolist()
        whole = _Answer(prediction.probabilities, tuple(prediction.attributes.values()), unlike)
        windows: list[tuple[float, float, _Answer]] = []
        if self._timeline:
            attributes = list(zip(*prediction.window_attributes.values(), strict=True)) or [()] * len(starts)
            answers = zip(starts, ends, prediction.window_probabilities, attributes, strict=True)
            windows = [(start, end, _Answer(shares, values, unlike)) for start, end, shares, values in answers]
        self._header()
        if self._form == "json":
            found: dict[str, object] = {"file": name, "duration_s": round(prediction.duration_s, 3)}
            found |= self._as_json(whole) | {"unlike_training": list(prediction.unlike)}
            if self._timeline:
                found["windows"] = [
                    {"start_s": start, "end_s": end, **self._as_json(one)} for start, end, one in windows
                ]
            _print(json.dumps(found))
        elif self._form == "csv":
            end_s = prediction.start_s + prediction.duration_s
            for start, end, one in windows or [(prediction.start_s, end_s, whole)]:
                emotion = [self._named(one), *_rounded([one.shares.max(), *one.shares])] if self._names else []
                why = "; ".join(prediction.unlike)
                _csv_row(name, f"{start:.3f}", f"{end:.3f}", *emotion, *_rounded(one.attributes), why, "")
        else:
            _print(f"{name:<{self._name_width}}  {self._shown(whole)}")
            if unlike:
                print(f"warning: {name} is unlike the training: {'; '.join(prediction.unlike)}.", file=sys.stderr)
            for start, end, one in windows:
                _print(f"{start:8.1f} - {end:6.1f} s  {self._shown(one)}")

    def fail(self, name: str, why: str) -> None:
        """A recording that there is no prediction of; in a table to read it is an error message."""
        if self._form == "text":
            print(f"error: {name}: {why}", file=sys.stderr, flush=True)
        elif self._form == "json":
            _print(json.dumps({"file": name, "error": why}))
        else:
            self._header()
            n_emotion = 2 + len(self._labels) if self._names else 0
            _csv_row(name, "", "", *[""] * (n_emotion + len(self._attributes)), "", why)

    def _header(self) -> None:
        if self._has_header:
            return
        self._has_header = True
        if self._form == "csv":
            emotion = ("emotion", "probability", *self._labels) if self._names else ()
            _csv_row("file", "start_s", "end_s", *emotion, *self._attributes, "unlike_training", "error")
        else:
            columns = [f"{'emotion':<{self._label_width}}"] if self._names else []
            columns += [*self._attributes, *(["probability"] if self._names else [])]
            _print("  ".join([f"{'file':<{self._name_width}}", *columns]))

    def _named(self, answer: _Answer) -> str:
        is_unsure = answer.shares.max() < self._abstain_below or (answer.unlike and self._abstain_below > 0)
        return "unsure" if is_unsure else self._labels[int(answer.shares.argmax())]

    def _shown(self, answer: _Answer) -> str:
        probability = float(answer.shares.max())
        pairs = zip(self._attributes, answer.attributes, strict=True)
        columns = [f"{self._named(answer):<{self._label_width}}"] if self._names else []
        columns += [f"{value:{len(name)}.3g}" for name, value in pairs]
        columns += [f"{probability:.2f} {bar(probability)}"] if self._names else []
        return "  ".join(columns).rstrip()

    def _as_json(self, answer: _Answer) -> dict[str, object]:
        found: dict[str, object] = {}
        if self._names:
            rounded = [round(float(share), 4) for share in answer.shares]
            by_label = dict(zip(self._labels, rounded, strict=True))
            found |= {"emotion": self._named(answer), "probability": max(rounded), "probabilities": by_label}
        values = [round(float(value), 4) for value in answer.attributes]
        return found | ({"attributes": dict(zip(self._attributes, values, strict=True))} if values else {})


def bar(share: float) -> str:
    """A bar of up to ten characters."""
    eighths = round(share * 10 * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip()


def _rounded(numbers: Iterable[float]) -> list[str]:
    return [f"{number:.4f}" for number in numbers]


def _print(line: str) -> None:
    print(line, flush=True)


def _csv_row(*values: str) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerow(values)
    sys.stdout.flush()
