"""The labeling job from its settings to a finished table."""

import json
import logging
import time
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as pads
import ray

from liser_ray.corpora.plan import PlanSummary, extend_plan, load_plan_summary, replan_failed
from liser_ray.labeling.config import LabelConfig, fit_pools, spans_per_file
from liser_ray.labeling.meter import Outcomes
from liser_ray.labeling.monitor import Monitor
from liser_ray.labeling.page.page import write_page
from liser_ray.labeling.page.statistics import count_table
from liser_ray.labeling.pipeline import run_pipeline
from liser_ray.labeling.planning import plan_corpus
from liser_ray.labeling.progress import ask_progress, start_progress, wait_for_rows
from liser_ray.labeling.resume import OutputFolders, reconcile, remove_doubles, remove_failed
from liser_ray.labeling.run_card import (
    TeacherCard,
    count_outcomes,
    make_recipe,
    speech_card,
    told_rows,
    write_run_card,
)
from liser_ray.labeling.runs import load_runs, throughput
from liser_ray.labeling.schema import labels_schema
from liser_ray.media.detector import check_detector
from liser_ray.media.outcome import TRANSIENT_REASONS
from liser_ray.runtime.cluster import start_ray, users_errors
from liser_ray.runtime.display import LiveDisplay
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.storage.files import check_readable, check_writable, delete_file, exists, filesystem
from liser_ray.storage.run_record import refuse_changed_recipe
from liser_ray.teachers.speech import load_speech_teachers
from liser_ray.teachers.video import load_video_teacher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResult:
    """What a run of the job did.

    Attributes:
        folders: where everything is.
        plan: what was planned.
        outcomes: rows of the whole table by status and reason.
        spans_run: spans that this run worked on; 0: the job was finished before.
        elapsed_s: seconds it took for them.
        labels_by_class: teacher name to label name to labeled spans; the label is the largest mean softmax.
    """

    folders: OutputFolders
    plan: PlanSummary
    outcomes: Outcomes
    spans_run: int
    elapsed_s: float
    labels_by_class: dict[str, dict[str, int]]


def label_corpus(config: LabelConfig) -> JobResult:
    """Plan if need be, label what is not labeled yet, and check that every planned span has its one row.

    All that can be wrong with the settings is found before any work starts. Killed at any point and called again
    with the same settings, it goes on where it was.

    Raises:
        UserError: an option, a weight, the input, the output or a changed recipe; the message says what to do.
    """
    folders = OutputFolders(absolute(config.output))
    check_writable(folders.output)
    check_readable(config.input)
    check_detector(config.media.faces.detector)
    video, speech = _inspect_teachers(config)
    recipe = make_recipe(config, video, speech)
    refuse_changed_recipe(folders.run_card, recipe)
    begun = exists(folders.run_card)
    plan = load_plan_summary(folders.output) if begun else plan_corpus(config)
    if plan is None:
        raise UserError(f"{folders.output} has labels but no plan.json: it was changed by hand. Use another --output.")
    schema = _schema(plan, folders, recipe, video, speech)
    if not begun:
        write_run_card(folders, recipe, plan, config)

    if config.retry_failed != "no":
        reconcile(folders)  # first: a file that a killed run was writing can't be read
        reasons = TRANSIENT_REASONS if config.retry_failed == "transient" else None
        again = remove_failed(folders, reasons)
        plan = replan_failed(folders.output, reasons, config.plan)
        log.info("%d failed spans will be run again", again)
    if begun and config.extend:
        plan = extend_plan(folders.output, config.plan)
    done = reconcile(folders)
    started = time.monotonic()
    if done < plan.spans:
        start_ray()
        resources = ray.cluster_resources()
        pools = fit_pools(config, resources.get("CPU", 0), resources.get("GPU", 0))
        log.info("%s", pools)
        progress = start_progress()
        with (
            Monitor(lambda: ask_progress(progress), pools, folders.runs) as monitor,
            LiveDisplay("spans", plan.spans, monitor.look, done, monitor.stage_lines),
            users_errors(),
        ):
            run_pipeline(config, folders, schema, pools, spans_per_file(config, plan.spans), progress)
            wait_for_rows(progress, plan.spans - done)
        reconcile(folders)
    elapsed_s = time.monotonic() - started
    outcomes, different = count_outcomes(folders)
    if sum(outcomes.values()) > different:
        log.warning("%d spans had two rows: one of each was taken out", remove_doubles(folders))
        reconcile(folders)
        outcomes, different = count_outcomes(folders)
    rows = sum(outcomes.values())
    if not plan.spans == rows == different:
        raise RuntimeError(
            f"{plan.spans} spans were planned, but {folders.labels} has {rows} rows of {different} different spans. "
            "Start the job again; if the numbers stay, please report this."
        )
    speech_labels = {card.name: card.labels for card in speech}
    statistics = count_table(folders, video.labels, speech_labels, config.contact_sheet)
    labels_by_class = statistics.labels_by_class()
    result = JobResult(folders, plan, outcomes, plan.spans - done, elapsed_s, labels_by_class)
    results = {
        "rows": {f"{status}:{reason}" if reason else status: n for (status, reason), n in sorted(outcomes.items())},
        "labels_by_class": labels_by_class,
        "throughput": throughput(load_runs(folders.runs), config.prices),
        "last_run": {"spans": result.spans_run, "seconds": round(elapsed_s, 1)},
    }
    # Told anew where nothing was run too, if an earlier run was cut off between its last row and here.
    if result.spans_run or told_rows(folders) != results["rows"]:
        delete_file(folders.page)  # which is of other rows: cut off before the new one, the next run writes it
        write_run_card(folders, recipe, plan, config, results)
    if config.contact_sheet or not exists(folders.page):
        write_page(folders, statistics)
    return result


def _inspect_teachers(config: LabelConfig) -> tuple[TeacherCard, list[TeacherCard]]:
    """Load the teachers once on the CPU, so that a missing or wrong weight is found now and here."""
    if not config.speech_teachers:
        raise UserError("No speech teacher: give --speech_teachers at least one folder, s3:// or hf:// address.")
    video = load_video_teacher(config.video_teacher)
    speech = load_speech_teachers(config.speech_teachers)
    return (
        TeacherCard(video.name, video.labels, video.sha256),
        [speech_card(one) for one in speech.teachers],
    )


def _schema(
    plan: PlanSummary, folders: OutputFolders, recipe: dict[str, object], video: TeacherCard, speech: list[TeacherCard]
) -> pa.Schema:
    fs, path = filesystem(folders.plan)
    planned = pads.dataset(path, filesystem=fs, format="parquet").schema
    extra = pa.schema([planned.field(name) for name in plan.extra_columns])
    return labels_schema(
        video.labels,
        {card.name: card.labels for card in speech},
        extra,
        {"liser_ray.storage.run_record": json.dumps(recipe)},
    )
