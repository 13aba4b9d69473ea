"""``report.html``: one file that opens anywhere, made from what a job has written so far."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from liser_ray.corpora.labeled import input_folder
from liser_ray.corpora.labels import meaning
from liser_ray.corpora.plan import PlanSummary, load_plan_summary
from liser_ray.corpora.recordings import input_roots
from liser_ray.labeling.config import Prices
from liser_ray.labeling.page.agreement import agree
from liser_ray.labeling.page.checks import FEWEST_SPANS, find_warnings, share_text
from liser_ray.labeling.page.faces import FacePicture, contact_sheet
from liser_ray.labeling.page.figures import histogram_figure
from liser_ray.labeling.page.statistics import OutcomeCount, TableStatistics, TargetCounts, count_table
from liser_ray.labeling.planning import hours_text
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.run_card import load_runs, throughput
from liser_ray.labeling.schema import SCHEMA_VERSION
from liser_ray.media.outcome import Status
from liser_ray.runtime.display import clock
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import exists, read_bytes, write_bytes
from liser_ray.teachers.targets import Target


def make_page(folders: OutputFolders, n_faces: int = 0) -> None:
    """Write the page of a finished, interrupted or running job, with so many faces; nothing else is written.

    Raises:
        UserError: no job has begun there, or one of another version.
    """
    if not exists(folders.run_card):
        raise UserError(f"{folders.output} has no run.json: give the --output of a label_corpus.py that has begun.")
    recipe = json.loads(read_bytes(folders.run_card))["recipe"]
    if recipe["schema_version"] != SCHEMA_VERSION:
        raise UserError(f"{folders.output} was begun with another version of liser_ray: make the page with that one.")
    write_page(folders, count_table(folders, [Target.from_json(one) for one in recipe["targets"]], n_faces))


def write_page(folders: OutputFolders, statistics: TableStatistics) -> None:
    """Write the page of a job whose table is counted already; with a contact sheet if faces were kept.

    Raises:
        UserError: the plan is gone.
    """
    plan, runs = load_plan_summary(folders.output), load_runs(folders.runs)
    if plan is None:
        raise UserError(f"{folders.output} has no plan.json: it was changed by hand.")
    done = statistics.total()
    given = OutcomeCount(max(plan.spans, done.spans), max(plan.recorded_s, done.seconds))
    to_go = OutcomeCount(given.spans - done.spans, given.seconds - done.seconds)
    labels = {one.target.name: one.target.labels for one in statistics.distributions}
    agreements = {pair: agree(n, *(labels[name] for name in pair)) for pair, n in statistics.together.items()}
    sure = [one for one in statistics.distributions if one.confidence.n]
    agreed = [pair for pair, one in agreements.items() if not math.isnan(one.kappa)]
    outcomes = sorted(statistics.outcomes.items(), key=lambda one: -one[1].spans)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # addresses and details come from whoever made the recordings
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = {"hours": hours_text, "share": share_text, "number": _number_text, "clock": clock}
    environment.filters |= texts | {"meaning": meaning}
    card = json.loads(read_bytes(folders.run_card))
    html = environment.get_template("report.html.jinja").render(
        output=folders.output,
        now=datetime.now(UTC),
        card=card,
        recipe=json.dumps(card["recipe"], indent=2, ensure_ascii=False),
        plan=plan,
        statistics=statistics,
        given=given,
        done=done,
        to_go=to_go,
        **{str(status): statistics.total(status) for status in Status},
        steps=list(_steps(statistics, given.seconds, to_go)),
        lost={status: [one for one in outcomes if one[0].status == status] for status in ("failed", "filtered")},
        fewest_spans=FEWEST_SPANS,
        warnings=list(find_warnings(statistics, agreements)),
        agreements=agreements,
        least_sure=min(sure, key=_sureness, default=None),
        least_agreed=min(agreed, key=lambda pair: agreements[pair].kappa, default=None),
        histogram_figure=histogram_figure,
        runs=runs,
        speed=throughput(runs, Prices())["video_hours_per_hour"],
        last_run=next((run for run in reversed(runs) if run.stages), None),
        faces=_faces(statistics.faces, plan, folders) if statistics.faces else [],
    )
    write_bytes(folders.page, html.encode())


def _faces(rows: pa.Table, plan: PlanSummary, folders: OutputFolders) -> list[FacePicture]:
    """Of recordings that lie where the job's may; those of a table that was its input lie elsewhere."""
    folder, roots = input_folder(plan.input_uri), tuple[str, ...]()
    if folder == folders.output or not exists(OutputFolders(folder).run_card):
        roots = input_roots(plan.input_uri, plan.media_folder, plan.config.allowed_roots)
    return contact_sheet(rows, plan.wanted, roots, plan.config.max_pixels)


def _sureness(counts: TargetCounts) -> float:
    """How far the median confidence is on the way from no opinion to certain, 0..1."""
    return (counts.confidence.median - counts.no_opinion) / max(1e-9, 1 - counts.no_opinion)


def _number_text(value: float, digits: int = 2) -> str:
    """A number with thousands set off; digits are of a float."""
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _steps(
    statistics: TableStatistics, left_s: float, to_go: OutcomeCount
) -> Iterator[tuple[str, str, OutcomeCount, float]]:
    """What was lost on the way from the recordings given to those labeled, in the order of the pipeline.

    Yields:
        What it is, its kind (filtered, failed or to_go), its spans and seconds, and the seconds that are left then.
    """
    order, given_s = list(Status), left_s
    lost = [one for one in statistics.outcomes.items() if one[0].status != Status.LABELED]
    for outcome, count in sorted(lost, key=lambda one: (order.index(Status(one[0].status)), -one[1].seconds)):
        left_s -= count.seconds
        yield f"{outcome.reason} ({outcome.stage})", outcome.status, count, left_s
    if to_go.spans:
        yield "not done yet", "to_go", to_go, left_s - to_go.seconds
    elif to_go.seconds > 0.001 * given_s:
        yield "not covered by all that is required", "filtered", OutcomeCount(0, to_go.seconds), left_s - to_go.seconds
