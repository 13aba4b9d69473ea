"""The plan of a labeling job: made or taken over, and put in words. Imports little, for a dry run is quick."""

import logging

from rich.filesize import decimal

from liser_ray.corpora.labeled import input_address, input_folder
from liser_ray.corpora.plan import PlanSummary, copy_plan, extend_plan, load_plan_summary, make_plan
from liser_ray.corpora.spans import expected_output_bytes
from liser_ray.labeling.config import LabelConfig
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.schema import ADDED_COLUMNS
from liser_ray.labeling.table_input import find_table
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import absolute
from liser_ray.storage.files import check_readable, check_writable, exists

log = logging.getLogger(__name__)


def plan_corpus(config: LabelConfig) -> PlanSummary:
    """The plan of an output folder: the one that is there if it fits the settings, else a new one.

    The one that is there gets the recordings that came since if the settings say so (`LabelConfig.extend`).
    Otherwise it stays as it is, and where labeling has begun, one for other settings is only counted.

    Raises:
        UserError: the input can't be listed, or the output can't be written.
    """
    check_readable(input_folder(config.input))
    check_readable(config.media_folder)
    check_writable(config.output)
    summary = load_plan_summary(config.output)
    goes_on = exists(OutputFolders(absolute(config.output)).run_card)
    if table := find_table(config):
        of_table = load_plan_summary(table.output)
        if (
            summary
            and summary.input_uri == table.output
            and of_table
            and summary.spans_by_part == of_table.spans_by_part
        ):
            return summary
        _refuse_part(config)
        return copy_plan(table.output, None if goes_on else config.output)
    if summary and summary.input_uri == input_address(config.input):
        fits = _same_rows(summary, config) and (goes_on or summary.config.spans_per_part == config.plan.spans_per_part)
        if config.extend and (fits or goes_on):  # what is asked of recordings may be another thing for the new ones
            return extend_plan(config.output, config.plan)
        if fits:
            log.info("The plan in %s is used. Recordings that came since are added with --extend.", config.output)
            return summary
    _refuse_part(config)
    output = None if goes_on else config.output
    wanted = config.media.wanted()
    return make_plan(config.input, output, config.plan, ADDED_COLUMNS, config.needs.face, config.media_folder, wanted)


def _refuse_part(config: LabelConfig) -> None:
    if config.part:
        raise UserError(
            f"{config.output} has no plan for these settings, and --part makes none, since several clusters would: run "
            "it once with --dry_run and without --part, then start the parts."
        )


def hours_text(seconds: float, of_s: float | None = None) -> str:
    """A length of recordings with its unit, the one that suits a whole of ``of_s`` seconds."""
    whole_s = seconds if of_s is None else of_s
    if whole_s < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if whole_s < 3600 else f"{seconds / 3600:,.1f} h"


def describe_plan(plan: PlanSummary, n_teachers: int = 2) -> str:
    """Recordings, hours, spans, expected size, and what can't be used and why."""
    size = decimal(expected_output_bytes(plan.to_label_s, n_teachers))
    lines = [
        f"{plan.recordings:,} recordings · {hours_text(plan.to_label_s)} to label · {plan.spans:,} spans · "
        f"{sum(plan.failed.values()):,} unreadable · about {size} out",
    ]
    if (n_parts := len(plan.spans_by_part)) > 1:
        lines.append(f"  {n_parts:,} parts, one after the other, or by up to so many clusters at once with --part")
    for what, reasons in (("no use", plan.filtered), ("unreadable", plan.failed)):
        if reasons:
            lines.append(f"  {what}: " + ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items())))
    if plan.ignored_files:
        lines.append(f"  {plan.ignored_files:,} other files left alone (nothing to label by their suffix)")
    if plan.duplicates:
        lines.append(f"  {plan.duplicates:,} rows of the manifest name a recording a second time: left out")
    if plan.gone:
        lines.append(f"  {plan.gone:,} recordings of the list are gone: no such file in {plan.media_folder}")
    return "\n".join(lines)


def _same_rows(summary: PlanSummary, config: LabelConfig) -> bool:
    decides = ("span_seconds", "max_pixels", "max_frame_rate_hz", "max_recording_hours", "allowed_roots")
    same = all(getattr(summary.config, name) == getattr(config.plan, name) for name in decides)
    in_the_same = summary.media_folder == (config.media_folder and absolute(config.media_folder))
    same_tracks = summary.wanted == config.media.wanted()
    return same and in_the_same and same_tracks and summary.needs_video == config.needs.face
