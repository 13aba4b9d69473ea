"""``report.html``: one file that opens anywhere, made from what a job has written so far."""

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from liser_ray.labeling.page.agreement import agree, canonical
from liser_ray.labeling.page.checks import FEWEST_SPANS, find_warnings, share_text
from liser_ray.labeling.page.faces import FacePicture, contact_sheet
from liser_ray.labeling.page.figures import histogram_figure, speed_figure
from liser_ray.labeling.page.statistics import (
    VIDEO,
    OutcomeCount,
    PlanStatistics,
    TableStatistics,
    count_plan,
    count_table,
)
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.runs import RunRecord, load_runs
from liser_ray.media.outcome import Status
from liser_ray.runtime.display import clock
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, read_bytes, write_bytes

_TEMPLATE = "report.html.jinja"
_NOT_KNOWN = "–"


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
    html = _render(
        folders.output,
        json.loads(read_bytes(folders.run_card)),
        json.loads(read_bytes(join(folders.output, "plan.json"))),
        count_plan(folders),
        statistics,
        load_runs(folders.runs),
        contact_sheet(statistics.faces) if statistics.faces else [],
    )
    write_bytes(folders.page, html.encode())


def hours_text(seconds: float, of_s: float | None = None) -> str:
    """A length of video with its unit, the one that suits a whole of ``of_s`` seconds."""
    whole_s = seconds if of_s is None else of_s
    if whole_s < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if whole_s < 3600 else f"{seconds / 3600:,.1f} h"


def _number_text(value: float, digits: int = 2) -> str:
    """A number with thousands set off; digits are of a float."""
    if isinstance(value, int):
        return f"{value:,}"
    return _NOT_KNOWN if math.isnan(value) else f"{value:,.{digits}f}"


def _clock_text(seconds: float) -> str:
    return _NOT_KNOWN if math.isnan(seconds) else clock(seconds)


def _render(
    output: str,
    card: dict[str, Any],
    plan_card: dict[str, Any],
    plan: PlanStatistics,
    statistics: TableStatistics,
    runs: Sequence[RunRecord],
    faces: Sequence[FacePicture],
) -> str:
    """The page.

    Args:
        output: where the job writes.
        card: content of ``run.json``.
        plan_card: content of ``plan.json``.
        plan: counts of the plan.
        statistics: counts of the table.
        runs: of the job, as far as they are recorded.
        faces: of the contact sheet.
    """
    labeled, filtered, failed = (statistics.of_status(status) for status in Status)
    cards = {VIDEO: card["recipe"]["video_teacher"], **card["recipe"]["speech_teachers"]}
    titles = {name: f"speech teacher {name}" for name in cards} | {VIDEO: "video teacher"}
    teachers, first = statistics.teachers, statistics.teachers[VIDEO]
    agreements = {
        name: agree(counts, first.labels, teachers[name].labels) for name, counts in statistics.together.items()
    }
    outcomes = sorted(statistics.outcomes.items(), key=lambda one: -one[1].spans)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # addresses and details come from whoever made the videos
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = {"hours": hours_text, "share": share_text, "number": _number_text, "clock": _clock_text}
    environment.filters |= texts | {"canonical": canonical}
    return environment.get_template(_TEMPLATE).render(
        output=output,
        now=datetime.now(UTC),
        card=card,
        cards=cards,
        recipe_json=json.dumps(card["recipe"], indent=2),
        plan_card=plan_card,
        plan=plan,
        given_s=max(plan.seconds, statistics.seconds),
        given_spans=max(plan.spans, statistics.spans),
        to_go=max(0, plan.spans - statistics.spans),
        statistics=statistics,
        labeled=labeled,
        filtered=filtered,
        failed=failed,
        steps=list(_steps(plan, statistics)),
        fewest_spans=FEWEST_SPANS,
        warnings=find_warnings(statistics, titles, agreements),
        teachers=teachers,
        titles=titles,
        agreements=agreements,
        least_sure=sorted(agreements, key=lambda name: teachers[name].confidence.median)[:1],
        least_agreed=sorted(agreements, key=lambda name: agreements[name].share - agreements[name].chance)[:1],
        figure=histogram_figure,
        runs=runs,
        speed=sum(run.samples[-1][2] for run in runs if run.samples) / max(1e-9, sum(run.seconds for run in runs)),
        speed_figure=speed_figure(runs),
        stages=next((run.stages for run in reversed(runs) if run.stages), {}),
        stages_s=next((run.seconds for run in reversed(runs) if run.stages), 0.0),
        errors=[one for one in outcomes if one[0].status == Status.FAILED],
        no_use=[one for one in outcomes if one[0].status == Status.FILTERED],
        faces=faces,
    )


def _steps(plan: PlanStatistics, statistics: TableStatistics) -> Iterator[tuple[str, str, OutcomeCount, float]]:
    """What was lost on the way from the video given to the video labeled, in the order of the pipeline.

    Yields:
        What it is, its kind (filtered, failed or to_go), its spans and seconds, and the seconds that are left then.
    """
    left_s, order = max(plan.seconds, statistics.seconds), list(Status)
    lost = [one for one in statistics.outcomes.items() if one[0].status != Status.LABELED]
    for outcome, count in sorted(lost, key=lambda one: (order.index(Status(one[0].status)), -one[1].seconds)):
        left_s -= count.seconds
        yield f"{outcome.reason} ({outcome.stage.replace('_', ' ')})", outcome.status, count, left_s
    if plan.spans > statistics.spans:
        to_go_s = max(0.0, plan.seconds - statistics.seconds)
        yield "not done yet", "to_go", OutcomeCount(plan.spans - statistics.spans, to_go_s), left_s - to_go_s
