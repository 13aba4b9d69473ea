"""What the template shows of the counts, section by section."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from liser_ray.labeling.page.agreement import Agreement, agree, canonical
from liser_ray.labeling.page.figures import histogram_figure
from liser_ray.labeling.page.histogram import Histogram
from liser_ray.labeling.page.runs import Run, StageTime
from liser_ray.labeling.page.statistics import PlanStatistics, TableStatistics, TeacherCounts
from liser_ray.labeling.page.texts import clock_text, share_text
from liser_ray.media.outcome import Status

_DARKEST = 55  # percent of a cell's colour: text on it stays readable
_PERCENTS = {one / 100: f"{one} %" for one in (0, 25, 50, 75, 100)}
_AREAS = {one / 100: f"{one:g} %" for one in (0.1, 1, 10, 100)}
_LENGTHS = {1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min", 3600.0: "1 h", 36_000.0: "10 h"}


@dataclass(frozen=True)
class Step:
    """A step on the way from the video given to the video labeled.

    Attributes:
        words: what it is.
        kind: given, filtered, failed, to_go or labeled.
        seconds: of video.
        spans: in it.
        share: of the video given, 0 to 1.
        start: where its bar begins, 0 to 1.
    """

    words: str
    kind: str
    seconds: float
    spans: int
    share: float
    start: float


def funnel(plan: PlanStatistics, statistics: TableStatistics) -> Iterator[Step]:
    """From what was given over what was lost, and why, to what is labeled."""
    given_s = max(plan.seconds, statistics.seconds)

    def step(words: str, kind: str, seconds: float, spans: int, start_s: float) -> Step:
        return Step(words, kind, seconds, spans, *(one / given_s if given_s else 0.0 for one in (seconds, start_s)))

    yield step("given", "given", given_s, max(plan.spans, statistics.spans), 0.0)
    left_s, order = given_s, list(Status)
    lost = [one for one in statistics.outcomes.items() if one[0].status != Status.LABELED]
    for outcome, count in sorted(lost, key=lambda one: (order.index(Status(one[0].status)), -one[1].seconds)):
        left_s -= count.seconds
        words = f"{outcome.reason} ({outcome.stage.replace('_', ' ')})"
        yield step(words, outcome.status, count.seconds, count.spans, left_s)
    if plan.spans > statistics.spans:
        to_go_s = max(0.0, plan.seconds - statistics.seconds)
        yield step("not done yet", "to_go", to_go_s, plan.spans - statistics.spans, left_s - to_go_s)
    labeled = statistics.of_status(Status.LABELED)
    yield step("labeled", "labeled", labeled.seconds, labeled.spans, 0.0)


@dataclass(frozen=True)
class TeacherSection:
    """A teacher: its counts, its card in the recipe, and its figures.

    Attributes:
        title: who it is.
        card: name, labels, sha256 and tuning.
        counts: what it said.
        sure_at_least: confidence of a teacher without an opinion.
        most_bits: entropy of such a teacher.
        confidence_figure, entropy_figure: distributions over windows.
    """

    title: str
    card: dict[str, Any]
    counts: TeacherCounts
    sure_at_least: float
    most_bits: float
    confidence_figure: Markup
    entropy_figure: Markup

    @property
    def n_spans(self) -> int:
        """Spans with a label."""
        return int(self.counts.spans.sum())

    @property
    def shares(self) -> list[tuple[str, float, int]]:
        """Label, share of the spans, and spans."""
        n_spans = max(1, self.n_spans)
        return [
            (label, n / n_spans, n) for label, n in zip(self.counts.labels, self.counts.spans.tolist(), strict=True)
        ]


def teacher_sections(statistics: TableStatistics, recipe: dict[str, Any]) -> list[TeacherSection]:
    """The video teacher, then the speech teachers."""
    video = recipe["video_teacher"]
    return [
        _teacher_section("video", f"Video teacher: {video['name']}", statistics.video, video),
        *(
            _teacher_section(f"speech-{number}", f"Speech teacher: {name}", counts, recipe["speech_teachers"][name])
            for number, (name, counts) in enumerate(statistics.speech.items())
        ),
    ]


def _teacher_section(key: str, title: str, counts: TeacherCounts, card: dict[str, Any]) -> TeacherSection:
    uniform, most_bits = 1 / len(counts.labels), math.log2(max(2, len(counts.labels)))
    confidence = histogram_figure(
        f"{key}-confidence",
        counts.confidence,
        "confidence (largest probability)",
        "windows",
        mark=(uniform, "no opinion"),
    )
    entropy = histogram_figure(
        f"{key}-entropy", counts.entropy_bits, "entropy (bits)", "windows", mark=(most_bits, "no opinion")
    )
    return TeacherSection(title, card, counts, uniform, most_bits, confidence, entropy)


@dataclass(frozen=True)
class Cell:
    """Of the table of two teachers' labels.

    Attributes:
        share: of its row's spans.
        percent: of the cell's colour.
        same: whether row and column are the same emotion.
    """

    share: float
    percent: int
    same: bool


@dataclass(frozen=True)
class AgreementSection:
    """The video teacher and a speech teacher.

    Attributes:
        name: of the speech teacher.
        found: how far they agree.
        columns: the speech teacher's labels.
        rows: label of the video teacher, its spans, and a cell per column.
    """

    name: str
    found: Agreement
    columns: tuple[str, ...]
    rows: list[tuple[str, int, list[Cell]]]


def agreement_sections(statistics: TableStatistics) -> list[AgreementSection]:
    """One for each speech teacher."""
    return [
        _agreement_section(name, statistics.video, one, statistics.together[name])
        for name, one in statistics.speech.items()
    ]


def _agreement_section(name: str, video: TeacherCounts, speech: TeacherCounts, counts: np.ndarray) -> AgreementSection:
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    rows = []
    for label, of_row, n in zip(video.labels, shares.tolist(), counts.sum(axis=1).tolist(), strict=True):
        cells = [
            Cell(share, round(_DARKEST * share), canonical(label) == canonical(other))
            for share, other in zip(of_row, speech.labels, strict=True)
        ]
        rows.append((label, n, cells))
    return AgreementSection(name, agree(counts, video.labels, speech.labels), speech.labels, rows)


@dataclass(frozen=True)
class Distribution:
    """A figure of something about the videos, with its words."""

    title: str
    words: str
    histogram: Histogram
    figure: Markup


def video_distributions(statistics: TableStatistics, plan: PlanStatistics) -> list[Distribution]:
    """Faces, validity, speech and lengths."""
    size, valid = statistics.face_size, statistics.video_valid
    speech, length = statistics.speech_fraction, plan.recording_s
    return [
        Distribution(
            "Size of the face",
            f"median {share_text(size.median)} of the picture's area, in windows that show the face",
            size,
            histogram_figure("face-size", size, "face's box, share of the area", "windows", _AREAS, log=True),
        ),
        Distribution(
            "Validity",
            f"{share_text(float(valid.counts[0] / max(1, valid.n)))} of the windows show no one face to follow",
            valid,
            histogram_figure("valid", valid, "frames of a window with the face", "windows", _PERCENTS),
        ),
        Distribution(
            "Speech",
            f"median {share_text(speech.median)} of a labeled span's time",
            speech,
            histogram_figure("speech", speech, "share of the span that is speech", "spans", _PERCENTS),
        ),
        Distribution(
            "Length of the recordings",
            f"median about {clock_text(length.median)}, of those whose length is known",
            length,
            histogram_figure("length", length, "length of the recording", "recordings", _LENGTHS, log=True),
        ),
    ]


@dataclass(frozen=True)
class StageSection:
    """A stage of a run; busy is the share of its actors' time, NaN if that is not known."""

    stage: StageTime
    seconds_per_span: float
    busy: float


def stage_sections(runs: Sequence[Run]) -> list[StageSection]:
    """The stages of the last run that recorded any."""
    run = next((run for run in reversed(runs) if run.stages), None)
    if run is None:
        return []
    return [
        StageSection(
            one,
            one.busy_s / one.spans if one.spans else math.nan,
            one.busy_s / (one.actors * run.seconds) if one.actors and run.seconds > 0 else math.nan,
        )
        for one in run.stages
    ]
