"""``report.html``: one file that opens anywhere, made from what a job has written so far."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from liser_ray.display import clock
from liser_ray.errors import UserError
from liser_ray.labeling.page.agreement import Agreement, agree, canonical
from liser_ray.labeling.page.checks import find_warnings
from liser_ray.labeling.page.faces import FacePicture, contact_sheet
from liser_ray.labeling.page.figures import histogram_figure, speed_figure
from liser_ray.labeling.page.histogram import Histogram
from liser_ray.labeling.page.runs import Run, load_runs
from liser_ray.labeling.page.statistics import (
    PlanStatistics,
    TableStatistics,
    TeacherCounts,
    count_plan,
    count_table,
)
from liser_ray.labeling.resume import OutputFolders
from liser_ray.outcome import Status
from liser_ray.storage import exists, join, read_bytes, write_bytes

_TEMPLATE = "report.html.jinja"
_DARKEST = 55  # percent of a cell's colour: text on it stays readable


def make_page(folders: OutputFolders, n_faces: int = 0) -> None:
    """Write the page of a finished, interrupted or running job; nothing else is written.

    Args:
        folders: of the job.
        n_faces: faces on the contact sheet; 0: none.

    Raises:
        UserError: no job has begun there.
    """
    if not exists(folders.run_card):
        raise UserError(f"{folders.output} has no run.json: give the --output of a label_corpus.py that has begun.")
    recipe = json.loads(read_bytes(folders.run_card))["recipe"]
    speech_labels = {name: card["labels"] for name, card in recipe["speech_teachers"].items()}
    write_page(folders, count_table(folders, recipe["video_teacher"]["labels"], speech_labels, n_faces))


def write_page(folders: OutputFolders, statistics: TableStatistics) -> None:
    """Write the page of a job whose table is counted already; with a contact sheet if faces were kept."""
    html = render(
        json.loads(read_bytes(folders.run_card)),
        json.loads(read_bytes(join(folders.output, "plan.json"))),
        count_plan(folders),
        statistics,
        load_runs(folders),
        contact_sheet(statistics.faces) if statistics.faces else [],
        folders.output,
        datetime.now(UTC),
    )
    write_bytes(folders.page, html.encode())


def render(
    card: dict[str, Any],
    plan_card: dict[str, Any],
    plan: PlanStatistics,
    statistics: TableStatistics,
    runs: Sequence[Run],
    faces: Sequence[FacePicture],
    output: str,
    now: datetime,
) -> str:
    """The page.

    Args:
        card: content of ``run.json``.
        plan_card: content of ``plan.json``.
        plan: counts of the plan.
        statistics: counts of the table.
        runs: of the job, as far as they are recorded.
        faces: of the contact sheet.
        output: where the job writes.
        now: the time to put on the page.
    """
    agreements = {
        name: agree(statistics.together[name], statistics.video.labels, teacher.labels)
        for name, teacher in statistics.speech.items()
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # addresses and details come from whoever made the videos
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"hours": hours_text, "share": share_text, "number": number_text, "clock": clock}
    outcomes = sorted(statistics.outcomes.items(), key=lambda one: -one[1].spans)
    return environment.get_template(_TEMPLATE).render(
        card=card,
        recipe_json=json.dumps(card["recipe"], indent=2),
        plan=plan,
        plan_card=plan_card,
        statistics=statistics,
        labeled=statistics.of_status(Status.LABELED),
        filtered=statistics.of_status(Status.FILTERED),
        failed=statistics.of_status(Status.FAILED),
        to_go=max(0, plan.spans - statistics.spans),
        warnings=find_warnings(statistics, agreements),
        steps=list(_steps(plan, statistics)),
        teachers=list(_teachers(statistics, card["recipe"])),
        agreements=[
            _agreement(name, agreements[name], statistics.together[name], statistics.video, teacher)
            for name, teacher in statistics.speech.items()
        ],
        video_figures=list(_video_figures(statistics, plan)),
        runs=runs,
        speed_figure=speed_figure("speed", runs) if any(len(run.elapsed_s) for run in runs) else None,
        stages=list(_stages(runs)),
        errors=[(outcome, count) for outcome, count in outcomes if outcome.status == Status.FAILED],
        no_use=[(outcome, count) for outcome, count in outcomes if outcome.status == Status.FILTERED],
        faces=faces,
        output=output,
        now=now,
    )


@dataclass(frozen=True)
class _Step:
    """A bar on the way from the hours given to the hours labeled; start and width in percent of those given."""

    words: str
    kind: str
    seconds: float
    share: float
    spans: int
    start: float
    width: float


def _steps(plan: PlanStatistics, statistics: TableStatistics) -> Iterator[_Step]:
    given_s = max(plan.seconds, statistics.seconds)

    def step(words: str, kind: str, seconds: float, spans: int, start_s: float) -> _Step:
        parts = [one / given_s if given_s else 0.0 for one in (seconds, start_s)]
        return _Step(words, kind, seconds, parts[0], spans, 100 * parts[1], 100 * parts[0])

    left_s = given_s
    yield step("given", "given", given_s, max(plan.spans, statistics.spans), 0.0)
    lost = [one for one in statistics.outcomes.items() if one[0].status != Status.LABELED]
    order = list(Status)
    for outcome, count in sorted(lost, key=lambda one: (order.index(Status(one[0].status)), -one[1].seconds)):
        left_s -= count.seconds
        words = f"{outcome.reason} ({outcome.stage.replace('_', ' ')})"
        yield step(words, outcome.status, count.seconds, count.spans, left_s)
    if plan.spans > statistics.spans:
        to_go_s = max(0.0, plan.seconds - statistics.seconds)
        yield step("not done yet", "to_go", to_go_s, plan.spans - statistics.spans, left_s - to_go_s)
    labeled = statistics.of_status(Status.LABELED)
    yield step("labeled", "labeled", labeled.seconds, labeled.spans, 0.0)


def _teachers(statistics: TableStatistics, recipe: dict[str, Any]) -> Iterator[dict[str, Any]]:
    video = recipe["video_teacher"]
    yield _teacher("video", f"Video teacher: {video['name']}", statistics.video, video)
    for number, (name, counts) in enumerate(statistics.speech.items()):
        yield _teacher(f"speech-{number}", f"Speech teacher: {name}", counts, recipe["speech_teachers"][name])


def _teacher(key: str, title: str, counts: TeacherCounts, card: dict[str, Any]) -> dict[str, Any]:
    n_labels, n_spans = len(counts.labels), int(counts.spans.sum())
    most_bits = math.log2(max(2, n_labels))
    shares = counts.spans / max(1, n_spans)
    return {
        "title": title,
        "card": card,
        "n_spans": n_spans,
        "labels": list(zip(counts.labels, shares.tolist(), counts.spans.tolist(), strict=True)),
        "confidence": counts.confidence,
        "entropy_bits": counts.entropy_bits,
        "most_bits": most_bits,
        "confidence_figure": histogram_figure(
            f"{key}-confidence",
            counts.confidence,
            "confidence (largest probability)",
            "windows",
            mark=(1 / n_labels, "no opinion"),
        ),
        "entropy_figure": histogram_figure(
            f"{key}-entropy", counts.entropy_bits, "entropy (bits)", "windows", mark=(most_bits, "no opinion")
        ),
    }


def _agreement(
    name: str, agreement: Agreement, counts: np.ndarray, video: TeacherCounts, speech: TeacherCounts
) -> dict[str, Any]:
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(1, totals)[:, None]
    rows = [
        {
            "label": label,
            "n": int(totals[row]),
            "cells": [
                {
                    "share": float(shares[row, column]),
                    "percent": round(_DARKEST * float(shares[row, column])),
                    "same": canonical(label) == canonical(other),
                }
                for column, other in enumerate(speech.labels)
            ],
        }
        for row, label in enumerate(video.labels)
    ]
    return {"name": name, "found": agreement, "rows": rows, "columns": speech.labels}


def _video_figures(statistics: TableStatistics, plan: PlanStatistics) -> Iterator[tuple[str, str, Histogram, Markup]]:
    """Title, text, counts and figure of each."""
    percents = {one / 100: f"{one} %" for one in (0, 25, 50, 75, 100)}
    areas = {one / 100: f"{one:g} %" for one in (0.1, 1, 10, 100)}
    lengths = {1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min", 3600.0: "1 h", 36_000.0: "10 h"}
    size, valid, speech, length = (
        statistics.face_size,
        statistics.video_valid,
        statistics.speech_fraction,
        plan.recording_s,
    )
    yield (
        "Size of the face",
        f"median {share_text(size.median)} of the picture's area, in windows that show the face",
        size,
        histogram_figure("face-size", size, "face's box, share of the area", "windows", areas, log=True),
    )
    yield (
        "Validity",
        f"{share_text(float(valid.counts[0] / max(1, valid.n)))} of the windows show no face to follow or a second one",
        valid,
        histogram_figure("valid", valid, "frames of a window with the face", "windows", percents),
    )
    yield (
        "Speech",
        f"median {share_text(speech.median)} of a labeled span's time",
        speech,
        histogram_figure("speech", speech, "share of the span that is speech", "spans", percents),
    )
    yield (
        "Length of the recordings",
        f"median about {clock(length.median)}, of those whose length is known" if length.n else "no length is known",
        length,
        histogram_figure("length", length, "length of the recording", "recordings", lengths, log=True),
    )


def _stages(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Stages of the last run that recorded any."""
    run = next((run for run in reversed(runs) if run.stages), None)
    for stage in run.stages if run else ():
        yield {
            "name": stage.name.replace("_", " "),
            "stage": stage,
            "per_span": f"{stage.busy_s / stage.spans:.2f}" if stage.spans else "–",
            "busy": stage.busy_s / (stage.actors * run.seconds) if run and stage.actors and run.seconds else math.nan,
        }


def hours_text(seconds: float, of_s: float | None = None) -> str:
    """A length of video with its unit, the one that suits a whole of ``of_s`` seconds."""
    whole_s = seconds if of_s is None else of_s
    if whole_s < 60:
        return f"{seconds:.0f} s"
    if whole_s < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"


def share_text(share: float) -> str:
    """A share as percent: none, less than one, or whole ones; a dash if it is not known."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def number_text(value: float, digits: int = 2) -> str:
    """A number with thousands set off; a dash if it is not known."""
    if math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"
