"""What a person reads of a search: a line for each setting that is over, and the best ones in the end."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from liser_ray.results.tables import score_text
from liser_ray.runtime.display import clock, result_console
from liser_ray.search.results import SearchResult, SettingResult, ranked, uar_text
from liser_ray.search.space import setting_name, short_name, value_text

_SHOWN = 10


def result_line(result: SettingResult, so_far: Sequence[SettingResult], n_wanted: int) -> str:
    """A row of the table that grows while the search goes on."""
    number = f"{len(so_far):>{len(str(n_wanted))}}/{n_wanted}"
    score = f"failed: {result.problem}" if result.status == "failed" else f"UAR {uar_text(result)}"
    stopped = f" stopped after {result.runs[0]['epochs']} epochs" if result.status == "stopped" else ""
    best = " best so far" if ranked(so_far)[0] is result and result.status != "failed" else ""
    return f"{number}  {setting_name(result.setting):<24} {score}  {clock(result.seconds)}{stopped}{best}"


def print_result(result: SearchResult) -> None:
    """Print the best settings and what to do next."""
    console = result_console()
    if not result.trained:
        console.print("Nothing to do: every setting was tried already.")
    console.print(_table(result.results))
    for one in result.results:
        if one.status == "failed":
            console.print(f"failed: {setting_name(one.setting)}: {one.problem}", soft_wrap=True)
    best = result.best
    console.print(f"Best on the validation speakers: {setting_name(best.setting)}, UAR {uar_text(best)}")
    test = f"python jobs/train_student.py --config {result.output}/best.yaml"
    console.print(f"Its score on the test speakers: {test}", soft_wrap=True)
    names = ", ".join(("trials.parquet", *result.pictures))
    console.print(f"All trials: {result.output}/ ({names}; TensorBoard: tune/)", soft_wrap=True)


def _table(results: Sequence[SettingResult]) -> Table:
    shown = ranked(results)[:_SHOWN]
    folds = sorted({run["fold"] for one in shown for run in one.runs})
    n_more = len(results) - len(shown)
    title = "Mean UAR on the validation speakers, its spread over the folds, and each fold"
    caption = f"and {n_more} more in trials.parquet" if n_more else None
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=box.SIMPLE)
    for name in (*map(short_name, shown[0].setting), "UAR", *(f"fold {fold}" for fold in folds)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for one in shown:
        values = map(value_text, one.setting.values())
        scores = [score_text(one.by_fold[fold]) if fold in one.by_fold else "" for fold in folds]
        table.add_row(*values, uar_text(one), *scores, "" if one.status == "done" else one.status)
    return table
