"""What a person reads at the end of the training: a row per fold, and what is mistaken for what."""

from typing import Any

from rich.console import Console
from rich.table import Table

from liser_ray.finetuning.job import FinetuneResult
from liser_ray.training.report import confusion_table, scores_table, speakers_text


def print_result(result: FinetuneResult) -> None:
    """Print the scores of every fold and where the teachers are."""
    console = Console(highlight=False)
    if not result.trained:
        console.print("Nothing to do: every fold has its teacher already.")
    console.print(_fold_table(result))
    confusion = result.evaluation["overall"]["recordings"]["confusion"]
    console.print(confusion_table(result.labels, confusion, "all folds"))
    console.print(f"Teachers: {result.output}/fold-* · scores: {result.output}/evaluation.json", soft_wrap=True)


def _fold_table(result: FinetuneResult) -> Table:
    chance = 1 / len(result.labels)
    title = (
        f"Scores on each fold's test speakers (chance {chance:.3f}); w: mean of 0.5-s windows, as for labeling; "
        "3s: of such windows heard with 3 s around them"
    )
    # ECE: expected calibration error of single windows, without and with the fitted temperature
    table = scores_table(title, ("fold", "speakers", "n", "UAR", "WAR", "UAR 3s", "UAR w", "ECE w"))
    for number, bundle in result.bundles.items():
        scores = bundle.content["scores"]
        errors = [scores["windows"][key] for key in ("calibration_error", "calibration_error_with_temperature")]
        table.add_row(
            str(number),
            speakers_text(bundle.content["speakers"]["test"]),
            f"{scores['n_recordings']:,}",
            *_recalls(scores),
            " → ".join(f"{error:.2f}" for error in errors),
        )
    n_recordings = sum(scores["n_recordings"] for scores in result.evaluation["folds"].values())
    table.add_section()
    table.add_row("all", "", f"{n_recordings:,}", *_recalls(result.evaluation["overall"]), "")
    return table


def _recalls(scores: dict[str, Any]) -> list[str]:
    ways = (("recordings", "uar"), ("recordings", "war"), ("windows_of_3s", "uar"), ("windows", "uar"))
    return [f"{scores[way][name]:.3f}" for way, name in ways]
