"""What a person reads at the end: the plan in a few lines, the table's content in two small tables."""

from rich.console import Console
from rich.table import Table

from liser_ray.corpora.plan import PlanSummary
from liser_ray.labeling.job import JobResult
from liser_ray.labeling.progress import clock
from liser_ray.outcome import Status

_BAR_CHARS = 24


def describe_plan(plan: PlanSummary, n_speech_teachers: int = 1) -> str:
    """Recordings, hours, spans, expected size, and what can't be used and why."""
    size = _bytes(plan.expected_output_bytes(n_speech_teachers))
    lines = [
        f"{plan.recordings:,} recordings · {_hours(plan.to_label_s)} to label · {plan.spans:,} spans · "
        f"{sum(plan.failed.values()):,} unreadable · about {size} out",
    ]
    for what, reasons in (("no use", plan.filtered), ("unreadable", plan.failed)):
        if reasons:
            lines.append(f"  {what}: " + ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items())))
    if plan.ignored_files:
        lines.append(f"  {plan.ignored_files:,} other files left alone (no video by their suffix)")
    if plan.duplicates:
        lines.append(f"  {plan.duplicates:,} rows of the manifest name a recording a second time: left out")
    return "\n".join(lines)


def print_result(result: JobResult) -> None:
    """Print what a job did and what its table holds."""
    console = Console(highlight=False)
    console.print(describe_plan(result.plan))
    if result.spans_run:
        console.print(f"{result.spans_run:,} spans run in {clock(result.elapsed_s)}")
    else:
        console.print("Nothing to do: every span of this plan has its row already.")
    console.print(_outcome_table(result))
    console.print(_label_table(result))
    console.print(f"Table: {result.folders.labels} · run card: {result.folders.run_card}", soft_wrap=True)


def _outcome_table(result: JobResult) -> Table:
    table = Table("status", "reason", title="Spans", title_justify="left")
    table.add_column("rows", justify="right")
    order = list(Status)
    for (status, reason), n in sorted(
        result.outcomes.items(), key=lambda one: (order.index(Status(one[0][0])), -one[1])
    ):
        table.add_row(status, reason, f"{n:,}")
    return table


def _label_table(result: JobResult) -> Table:
    table = Table("teacher", "label", title="Labeled spans by their largest mean probability", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("", no_wrap=True)
    for teacher, counts in result.labels_by_class.items():
        total = max(1, sum(counts.values()))
        for index, (label, n) in enumerate(counts.items()):
            table.add_row("" if index else teacher, label, f"{n:,}", "▇" * round(_BAR_CHARS * n / total))
        table.add_section()
    return table


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.1f} TB"
