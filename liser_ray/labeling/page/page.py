"""``report.html``: one file that opens anywhere, made from what a job has written so far."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from liser_ray.labeling.page.checks import FEWEST_SPANS, find_warnings
from liser_ray.labeling.page.faces import FacePicture, contact_sheet
from liser_ray.labeling.page.figures import speed_figure
from liser_ray.labeling.page.runs import Run, as_shown
from liser_ray.labeling.page.sections import (
    agreement_sections,
    funnel,
    stage_sections,
    teacher_sections,
    video_distributions,
)
from liser_ray.labeling.page.statistics import PlanStatistics, TableStatistics, count_plan, count_table
from liser_ray.labeling.page.texts import clock_text, hours_text, number_text, share_text
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.runs import load_runs
from liser_ray.media.outcome import Status
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, read_bytes, write_bytes

_TEMPLATE = "report.html.jinja"


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
        [as_shown(one) for one in load_runs(folders.runs)],
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
    labeled, filtered, failed = (statistics.of_status(status) for status in Status)
    teachers, agreements = teacher_sections(statistics, card["recipe"]), agreement_sections(statistics)
    outcomes = sorted(statistics.outcomes.items(), key=lambda one: -one[1].spans)
    recorded_s = sum(run.seconds for run in runs)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # addresses and details come from whoever made the videos
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"hours": hours_text, "share": share_text, "number": number_text, "clock": clock_text}
    return environment.get_template(_TEMPLATE).render(
        card=card,
        recipe_json=json.dumps(card["recipe"], indent=2),
        output=output,
        now=now,
        plan=plan,
        plan_card=plan_card,
        statistics=statistics,
        labeled=labeled,
        filtered=filtered,
        failed=failed,
        to_go=max(0, plan.spans - statistics.spans),
        fewest_spans=FEWEST_SPANS,
        warnings=find_warnings(statistics, {one.name: one.found for one in agreements}),
        steps=list(funnel(plan, statistics)),
        teachers=teachers,
        least_sure=sorted(teachers[1:], key=lambda one: one.counts.confidence.median)[:1],
        agreements=agreements,
        least_agreed=sorted(agreements, key=lambda one: one.found.share - one.found.chance)[:1],
        distributions=video_distributions(statistics, plan),
        runs=runs,
        speed=sum(run.speed * run.seconds for run in runs) / recorded_s if recorded_s else 0.0,
        speed_figure=speed_figure("speed", runs) if any(len(run.elapsed_s) for run in runs) else None,
        stages=stage_sections(runs),
        errors=[(outcome, count) for outcome, count in outcomes if outcome.status == Status.FAILED],
        no_use=[(outcome, count) for outcome, count in outcomes if outcome.status == Status.FILTERED],
        faces=faces,
    )
