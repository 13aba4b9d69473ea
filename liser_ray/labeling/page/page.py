"""``report.html``: one file that opens anywhere, made from what a job has written so far."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from liser_ray.labeling.page.agreement import agree, canonical
from liser_ray.labeling.page.checks import FEWEST_SPANS, find_warnings, share_text
from liser_ray.labeling.page.faces import contact_sheet
from liser_ray.labeling.page.figures import histogram_figure, speed_figure
from liser_ray.labeling.page.statistics import VIDEO, OutcomeCount, TableStatistics, count_plan, count_table
from liser_ray.labeling.planning import hours_text
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.run_card import load_runs
from liser_ray.media.outcome import Status
from liser_ray.runtime.display import clock
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import join
from liser_ray.storage.files import exists, read_bytes, write_bytes


def make_page(folders: OutputFolders, n_faces: int = 0) -> None:
    """Write the page of a finished, interrupted or running job, with so many faces; nothing else is written.

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
    card = json.loads(read_bytes(folders.run_card))
    planned, planned_s, recording_s = count_plan(folders)
    runs = load_runs(folders.runs)
    labeled, filtered, failed = (statistics.of_status(status) for status in Status)
    given_s, to_go = max(planned_s, statistics.seconds), max(0, planned - statistics.spans)
    cards = {VIDEO: card["recipe"]["video_teacher"], **card["recipe"]["speech_teachers"]}
    titles = {name: f"speech teacher {name}" for name in cards} | {VIDEO: "video teacher"}
    teachers, first = statistics.teachers, statistics.teachers[VIDEO]
    agreements = {
        name: agree(counts, first.labels, teachers[name].labels) for name, counts in statistics.together.items()
    }
    outcomes = sorted(statistics.outcomes.items(), key=lambda one: -one[1].spans)
    last = next((run for run in reversed(runs) if run.stages), None)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # addresses and details come from whoever made the videos
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = {"hours": hours_text, "share": share_text, "number": _number_text, "clock": _clock_text}
    environment.filters |= texts | {"canonical": canonical}
    html = environment.get_template("report.html.jinja").render(
        output=folders.output,
        now=datetime.now(UTC),
        card=card,
        cards=cards,
        recipe_json=json.dumps(card["recipe"], indent=2),
        plan_card=json.loads(read_bytes(join(folders.output, "plan.json"))),
        planned=planned,
        recording_s=recording_s,
        given_s=given_s,
        given_spans=max(planned, statistics.spans),
        to_go=to_go,
        statistics=statistics,
        labeled=labeled,
        filtered=filtered,
        failed=failed,
        steps=list(_steps(statistics, given_s, to_go, max(0.0, planned_s - statistics.seconds))),
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
        last_run=last,
        errors=[one for one in outcomes if one[0].status == Status.FAILED],
        no_use=[one for one in outcomes if one[0].status == Status.FILTERED],
        faces=contact_sheet(statistics.faces) if statistics.faces else [],
    )
    write_bytes(folders.page, html.encode())


def _number_text(value: float, digits: int = 2) -> str:
    """A number with thousands set off; digits are of a float."""
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _clock_text(seconds: float) -> str:
    return "–" if math.isnan(seconds) else clock(seconds)


def _steps(
    statistics: TableStatistics, left_s: float, to_go: int, to_go_s: float
) -> Iterator[tuple[str, str, OutcomeCount, float]]:
    """What was lost on the way from the video given to the video labeled, in the order of the pipeline.

    Yields:
        What it is, its kind (filtered, failed or to_go), its spans and seconds, and the seconds that are left then.
    """
    order = list(Status)
    lost = [one for one in statistics.outcomes.items() if one[0].status != Status.LABELED]
    for outcome, count in sorted(lost, key=lambda one: (order.index(Status(one[0].status)), -one[1].seconds)):
        left_s -= count.seconds
        yield f"{outcome.reason} ({outcome.stage.replace('_', ' ')})", outcome.status, count, left_s
    if to_go:
        yield "not done yet", "to_go", OutcomeCount(to_go, to_go_s), left_s - to_go_s
