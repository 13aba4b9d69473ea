"""What a person reads at the end of the training: a row per fold, and what is mistaken for what."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from liser_ray.teachers.finetuning.job import FinetuneResult

_NAMED_SPEAKERS = 6
_LABEL_CHARS = 6  # eight labels fit 80 characters


def print_result(result: FinetuneResult) -> None:
    """Print the scores of every fold and where the teachers are."""
    console = Console(highlight=False)
    if not result.trained:
        console.print("Nothing to do: every fold has its teacher already.")
    console.print(_fold_table(result))
    console.print(_confusion_table(result))
    console.print(f"Teachers: {result.output}/fold-* · scores: {result.output}/evaluation.json", soft_wrap=True)


def _fold_table(result: FinetuneResult) -> Table:
    chance = 1 / len(result.labels)
    title = f"Scores on each fold's test speakers (chance {chance:.3f}); w: mean of 0.5-s windows, as for labeling"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("fold")
    table.add_column("speakers", no_wrap=True)
    # ECE: expected calibration error of single windows, without and with the fitted temperature
    for column in ("n", "UAR", "WAR", "UAR w", "WAR w", "ECE w"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, bundle in result.bundles.items():
        scores, speakers = bundle.content["scores"], bundle.content["speakers"]["test"]
        errors = [scores["windows"][key] for key in ("calibration_error", "calibration_error_with_temperature")]
        table.add_row(
            str(number),
            " ".join(speakers) if len(speakers) <= _NAMED_SPEAKERS else f"{len(speakers)} speakers",
            f"{scores['n_recordings']:,}",
            *_recalls(scores),
            " → ".join(f"{error:.2f}" for error in errors),
        )
    n_recordings = sum(scores["n_recordings"] for scores in result.evaluation["folds"].values())
    table.add_section()
    table.add_row("all", "", f"{n_recordings:,}", *_recalls(result.evaluation["overall"]), "")
    return table


def _recalls(scores: dict[str, Any]) -> list[str]:
    return [f"{scores[way][name]:.3f}" for way in ("recordings", "windows") for name in ("uar", "war")]


def _confusion_table(result: FinetuneResult) -> Table:
    table = Table(title="True label (row) and heard label, all folds", title_justify="left", box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    for label in result.labels:
        table.add_column(label[:_LABEL_CHARS], justify="right", no_wrap=True)
    for label, row in zip(result.labels, result.evaluation["overall"]["recordings"]["confusion"], strict=True):
        table.add_row(label, *(f"{n:,}" if n else "·" for n in row))
    return table
