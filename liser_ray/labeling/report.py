"""What a person reads at the end: the table's content in two small tables."""

from rich.console import Console
from rich.table import Table

from liser_ray.labeling.job import JobResult
from liser_ray.labeling.planning import describe_plan
from liser_ray.media.outcome import Status
from liser_ray.runtime.display import clock

_BAR_CHARS = 24


def print_result(result: JobResult, extended: bool = False) -> None:
    """Print what a job did and what its table holds; ``extended``: it has looked for new recordings."""
    console = Console(highlight=False)
    console.print(describe_plan(result.plan))
    if result.spans_run:
        console.print(f"{result.spans_run:,} spans run in {clock(result.elapsed_s)}")
    else:
        console.print("Nothing to do: every span of this plan has its row already.")
        if not extended:
            console.print("Recordings that came since are added with --extend.")
    console.print(_outcome_table(result))
    console.print(_label_table(result))
    console.print(f"Table: {result.folders.labels} · run card: {result.folders.run_card}", soft_wrap=True)
    console.print(f"Page to look at first: {result.folders.page}", soft_wrap=True)


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
