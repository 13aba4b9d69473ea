"""What a person reads at the end of the training: a row per fold, and what is mistaken for what."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from liser_ray.teachers.finetuning.job import FinetuneResult

_NAMED_SPEAKERS = 6


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
    title = f"Scores on each fold's test speakers, whole recordings and the mean of 0.5-s windows (chance {chance:.3f})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("fold")
    table.add_column("speakers")
    # ECE: expected calibration error of single windows, without and with the fitted temperature
    for column in ("n", "UAR", "WAR", "UAR 0.5 s", "WAR 0.5 s", "ECE 0.5 s"):
        table.add_column(column, justify="right")
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
    table = Table("true \\ heard", title="Whole recordings, all folds", title_justify="left", box=box.SIMPLE)
    for label in result.labels:
        table.add_column(label, justify="right")
    for label, row in zip(result.labels, result.evaluation["overall"]["recordings"]["confusion"], strict=True):
        table.add_row(label, *(f"{n:,}" if n else "·" for n in row))
    return table
