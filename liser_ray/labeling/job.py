"""The labeling job from its settings to a finished table."""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from rich.table import Table

from liser_ray.corpora.plan import PlanSummary, extend_plan, load_plan_summary, replan_failed
from liser_ray.labeling.config import LabelConfig, fit_pools, spans_per_file
from liser_ray.labeling.monitor import monitored
from liser_ray.labeling.pipeline import run_pipeline
from liser_ray.labeling.planning import describe_plan, plan_corpus
from liser_ray.labeling.progress import JobCounts
from liser_ray.labeling.resume import (
    OutputFolders,
    count_outcomes,
    count_rows,
    reconcile,
    remove_doubles,
    remove_failed,
)
from liser_ray.labeling.run_card import (
    check_settings,
    load_runs,
    make_recipe,
    sources_of_transcripts,
    throughput,
    write_run_card,
)
from liser_ray.labeling.schema import RECIPE_KEY, Outcomes, labels_schema
from liser_ray.labeling.table_input import find_table
from liser_ray.media.outcome import TRANSIENT_REASONS, Status
from liser_ray.runtime.cluster import ray_resources, start_ray
from liser_ray.runtime.display import clock, result_console
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.storage.files import delete_file, exists, filesystem, read_bytes
from liser_ray.storage.run_record import refuse_changed_recipe

log = logging.getLogger(__name__)

_BAR_CHARS = 24


@dataclass(frozen=True)
class JobResult:
    """What a run of the job did.

    Attributes:
        folders: where everything is.
        plan: what was planned.
        outcomes: rows by status and reason: of the whole table, or of this run's parts while others are to be labeled.
        spans_run: spans that this run worked on; 0: the job was finished before.
        elapsed_s: seconds it took for them.
        labels_by_class: target to label to labeled spans; the label is the largest mean softmax. Of a whole table.
        open_part: the first part of others that is not labeled yet, in words; "": the table is whole.
    """

    folders: OutputFolders
    plan: PlanSummary
    outcomes: Outcomes
    spans_run: int
    elapsed_s: float
    labels_by_class: dict[str, dict[str, int]]
    open_part: str = ""


def _rows(plan: PlanSummary) -> tuple[Any, ...]:
    """What tells of other rows: a file that has come to be, too, has the same number of them."""
    return plan.spans_by_part, plan.failed, plan.filtered, round(plan.to_label_s, 3)


def label_corpus(config: LabelConfig) -> JobResult:
    """Plan if need be, label what is not labeled yet, and check that every planned span has its one row.

    All that can be wrong with the settings is found before any work starts. Killed at any point and called again
    with the same settings, it goes on where it was.

    Of a job that several clusters share (`LabelConfig.part`), each labels its parts and looks at those of the others at
    its end: who finds the table whole sums it up, the last one surely. Nobody changes anything in a part of others.

    Raises:
        UserError: an option, a weight, the input, the output or a changed recipe; the message says what to do.
    """
    folders = OutputFolders(absolute(config.output))
    targets = check_settings(config)
    goes_on = exists(folders.run_card)
    plan = load_plan_summary(folders.output) if goes_on else plan_corpus(config)
    if plan is None:
        raise UserError(f"{folders.output} has labels but no plan.json: it was changed by hand. Use another --output.")
    table = find_table(config)
    if table:  # whose spans are of its own length
        config = replace(config, plan=replace(config.plan, span_seconds=plan.config.span_seconds))
    carried = _carried(plan, folders)
    transcripts = sources_of_transcripts(config, carried)
    recipe = make_recipe(config, targets, transcripts)
    refuse_changed_recipe(folders.run_card, recipe)
    if table and (of_table := load_plan_summary(table.output)) and _rows(of_table) != _rows(plan):
        raise UserError(
            f"{table.output} has other rows than when {folders.output} was begun: give another --output, and all of "
            "it is labeled anew."
        )
    schema = labels_schema(targets, carried, {RECIPE_KEY: json.dumps(recipe)}, bool(transcripts))
    if not goes_on:
        write_run_card(folders, recipe, plan, config)
    if config.retry_failed != "no":
        plan = _retry_failed(config, folders, plan)
    if goes_on and config.extend:
        plan = extend_plan(folders.output, config.plan)
    own = _own_parts(config, plan)
    done = {part: reconcile(folders.of_part(part)) for part in own}
    started = time.monotonic()
    if any(done[part] < spans for part, spans in own.items()):
        _label(config, folders, plan, schema, own, done, recipe)
    elapsed_s = time.monotonic() - started
    spans_run = sum(own.values()) - sum(done.values())
    outcomes: Counter[tuple[str, str]] = Counter()
    for part, spans in own.items():
        outcomes.update(_checked_outcomes(folders.of_part(part), spans))
    others = {part: spans for part, spans in plan.spans_by_part.items() if part not in own}
    of_others, open_part = _outcomes_of_others(folders, others)
    if open_part:
        return JobResult(folders, plan, outcomes, spans_run, elapsed_s, {}, open_part)
    outcomes.update(of_others)
    # Matplotlib, for which the workers need not wait at the start.
    from liser_ray.labeling.page.page import write_page
    from liser_ray.labeling.page.statistics import count_table

    statistics = count_table(folders, targets, config.contact_sheet)
    labels_by_class = statistics.labels_by_class()
    result = JobResult(folders, plan, outcomes, spans_run, elapsed_s, labels_by_class)
    results = {
        "rows": {f"{status}:{reason}" if reason else status: n for (status, reason), n in sorted(outcomes.items())},
        "labels_by_class": labels_by_class,
        "throughput": throughput(load_runs(folders.runs), config.prices),
        "last_run": {"spans": result.spans_run, "seconds": round(elapsed_s, 1)},
    }
    # Written anew where nothing was run too, if an earlier run was cut off between its last row and here.
    recorded = json.loads(read_bytes(folders.run_card))["results"] or {}
    if result.spans_run or recorded.get("rows") != results["rows"]:
        delete_file(folders.page)  # which is of other rows: cut off before the new one, the next run writes it
        write_run_card(folders, recipe, plan, config, results)
    if config.contact_sheet or not exists(folders.page):
        write_page(folders, statistics)
    return result


def _carried(plan: PlanSummary, folders: OutputFolders) -> pa.Schema:
    """The manifest's columns that are carried along."""
    fs, path = filesystem(folders.plan)
    planned = pads.dataset(path, filesystem=fs, format="parquet").schema
    return pa.schema([planned.field(name) for name in plan.extra_columns])


def _retry_failed(config: LabelConfig, folders: OutputFolders, plan: PlanSummary) -> PlanSummary:
    """Take failed rows out, and have those that failed in the plan probed again."""
    for part in plan.spans_by_part:
        reconcile(folders.of_part(part))  # first: a file that a killed run was writing can't be read
    reasons = TRANSIENT_REASONS if config.retry_failed == "transient" else None
    again = remove_failed(folders, reasons)
    log.info("%d failed spans will be run again", again)
    return plan if find_table(config) else replan_failed(folders.output, reasons, config.plan)


def _own_parts(config: LabelConfig, plan: PlanSummary) -> dict[str, int]:
    """The parts that this run is to label, and their spans."""
    number, of = config.share
    own = list(plan.spans_by_part.items())[number - 1 :: of]
    if not own:
        raise UserError(
            f"There is nothing for --part {config.part}: the plan has {len(plan.spans_by_part)} parts. Before anything "
            "is labeled, a --dry_run with a smaller --plan.spans_per_part makes more of them."
        )
    return dict(own)


def _label(
    config: LabelConfig,
    folders: OutputFolders,
    plan: PlanSummary,
    schema: pa.Schema,
    planned: Mapping[str, int],
    done: Mapping[str, int],
    recipe: dict[str, Any],
) -> None:
    """Run the pipeline over what is not labeled yet of each part, and show how far all are together."""
    start_ray()
    pools = fit_pools(config, *ray_resources(), plan.spans_to_label, plan.to_label_s)
    log.info("%s", pools)
    counts = JobCounts()
    n_spans, n_done = sum(planned.values()), sum(done.values())
    with monitored(counts, pools, folders.runs, n_spans, n_done):
        for part, spans in planned.items():
            if done[part] < spans:
                refuse_changed_recipe(folders.run_card, recipe)  # somebody may have begun at the same moment as we
                run_pipeline(config, folders.of_part(part), schema, pools, spans_per_file(config, spans), counts)
                reconcile(folders.of_part(part))
        counts.wait_for_rows(n_spans - n_done)


def _outcomes_of_others(folders: OutputFolders, planned: Mapping[str, int]) -> tuple[Outcomes, str]:
    """The rows of parts that others label, and the first part that does not have each span once, in words, if any."""
    found: Counter[tuple[str, str]] = Counter()
    for part, spans in planned.items():
        rows = count_rows(folders.of_part(part))
        outcomes, different = count_outcomes(folders.of_part(part)) if rows == spans else ({}, 0)
        if different != spans:
            return found, f"{part} has {rows:,} rows for its {spans:,} spans"
        found.update(outcomes)
    return found, ""


def _checked_outcomes(folders: OutputFolders, planned: int) -> Outcomes:
    """Count the rows of a part: every planned span has one.

    Raises:
        RuntimeError: it has not.
    """
    outcomes, different = count_outcomes(folders)
    if sum(outcomes.values()) > different:
        log.warning("%d spans had two rows: one of each was taken out", remove_doubles(folders))
        reconcile(folders)
        outcomes, different = count_outcomes(folders)
    rows = sum(outcomes.values())
    if not planned == rows == different:
        raise RuntimeError(
            f"{planned} spans were planned, but {folders.labels} has {rows} rows of {different} different spans. "
            "Start the job again; if the numbers stay, please report this."
        )
    return outcomes


def print_result(result: JobResult, extended: bool = False) -> None:
    """Print what a job did and what its table holds; ``extended``: it has looked for new recordings."""
    console = result_console()
    console.print(describe_plan(result.plan))
    if result.spans_run:
        console.print(f"{result.spans_run:,} spans run in {clock(result.elapsed_s)}")
    else:
        console.print(f"Nothing to do: every span of this {'run' if result.open_part else 'plan'} has its row already.")
        if not (extended or result.open_part):
            console.print("Recordings that came since are added with --extend.")
    rows = Table("status", "reason", title="Spans", title_justify="left")
    rows.add_column("rows", justify="right")
    order = list(Status)
    for (status, reason), n in sorted(
        result.outcomes.items(), key=lambda one: (order.index(Status(one[0][0])), -one[1])
    ):
        rows.add_row(status, reason, f"{n:,}")
    if result.open_part:
        rows.title = "Spans of this run's parts"
    labels = Table("target", "label", title="Labeled spans by their largest mean probability", title_justify="left")
    labels.add_column("rows", justify="right")
    labels.add_column("", no_wrap=True)
    for teacher, counts in result.labels_by_class.items():
        total = max(1, sum(counts.values()))
        for index, (label, n) in enumerate(counts.items()):
            labels.add_row("" if index else teacher, label, f"{n:,}", "▇" * round(_BAR_CHARS * n / total))
        labels.add_section()
    console.print(rows)
    if labels.row_count:  # of measurements there is none
        console.print(labels)
    if result.open_part:
        console.print(
            f"The table is not whole yet: {result.open_part}. run.json and report.html tell of all parts when the last "
            "cluster is done, or this command is given again then.",
            soft_wrap=True,
        )
        return
    console.print(f"Table: {result.folders.labels} · run card: {result.folders.run_card}", soft_wrap=True)
    console.print(f"Page to look at first: {result.folders.page}", soft_wrap=True)
