"""What a person reads at the end of a search: the best settings with their folds, and where everything is."""

from rich import box
from rich.console import Console
from rich.table import Table

from liser_ray.search.job import BEST_FILE, TABLE_FILE, SearchResult
from liser_ray.search.results import ranked, score_text
from liser_ray.search.space import setting_name, short_name, value_text
from liser_ray.search.tuning import TUNE_FOLDER

_SHOWN = 10


def print_result(result: SearchResult) -> None:
    """Print the best settings and what to do next."""
    console = Console(highlight=False)
    if not result.trained:
        console.print("Nothing to do: every setting was tried already.")
    console.print(_table(result))
    for one in result.results:
        if one.status == "failed":
            console.print(f"failed: {setting_name(one.setting)}: {one.problem}", soft_wrap=True)
    best = result.best
    console.print(f"Best on the validation speakers: {setting_name(best.setting)}, UAR {score_text(best)}")
    console.print(
        f"Its score on the test speakers: python jobs/train_student.py --config {result.output}/{BEST_FILE}",
        soft_wrap=True,
    )
    names = ", ".join((TABLE_FILE, *result.pictures))
    console.print(f"All trials: {result.output}/ ({names}; TensorBoard: {TUNE_FOLDER}/)", soft_wrap=True)


def _table(result: SearchResult) -> Table:
    shown = ranked(result.results)[:_SHOWN]
    folds = sorted({run.fold for one in shown for run in one.runs})
    n_more = len(result.results) - len(shown)
    title = "Mean UAR on the validation speakers, its spread over the folds, and each fold"
    caption = f"and {n_more} more in {TABLE_FILE}" if n_more else None
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=box.SIMPLE)
    for axis in result.axes:
        table.add_column(short_name(axis.name), justify="right", no_wrap=True)
    table.add_column("UAR", justify="right", no_wrap=True)
    for fold in folds:
        table.add_column(f"fold {fold}", justify="right", no_wrap=True)
    table.add_column("")
    for one in shown:
        values = [value_text(one.setting[axis.name]) for axis in result.axes]
        by_fold = one.by_fold
        scores = [f"{by_fold[fold]:.3f}".removeprefix("0") if fold in by_fold else "" for fold in folds]
        table.add_row(*values, score_text(one), *scores, "" if one.status == "done" else one.status)
    return table
