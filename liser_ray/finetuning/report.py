"""What a person reads at the end of the training: a row per fold, and what is mistaken for what."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from liser_ray.finetuning.bundle import calibrated
from liser_ray.finetuning.job import FinetuneResult
from liser_ray.runtime.display import result_console
from liser_ray.training.report import confusion_table, scores_table, speakers_text

_WAYS = {
    "windows_of_3s": ("3s", "mean of 0.5-s windows heard with 3 s around them"),
    "windows": ("w", "mean of 0.5-s windows, as for labeling"),
}
"""Of asking about windows: in a column's title, and what that means."""


def print_result(result: FinetuneResult) -> None:
    """Print the scores of every fold and where the teachers are."""
    console = result_console()
    if not result.trained:
        console.print("Nothing to do: every fold has its teacher already.")
    console.print(_fold_table(result))
    confusion = result.evaluation["overall"]["recordings"]["confusion"]
    console.print(confusion_table(result.labels, confusion, "all folds"))
    console.print(f"Teachers: {result.output}/fold-* · scores: {result.output}/evaluation.json", soft_wrap=True)


def _fold_table(result: FinetuneResult) -> Table:
    chance, overall = 1 / len(result.labels), result.evaluation["overall"]
    ways = [way for way in _WAYS if way in overall]
    notes = [f"{short}: {meaning}" for short, meaning in map(_WAYS.__getitem__, ways)]
    title = "; ".join([f"Scores on each fold's test speakers (chance {chance:.3f})", *notes])
    # ECE: expected calibration error of single windows, without and with the fitted temperature
    uars = [f"UAR {_WAYS[way][0]}" for way in ways]
    table = scores_table(title, ("fold", "speakers", "n", "UAR", "WAR", *uars, "ECE"))
    for number, bundle in result.bundles.items():
        scores = bundle.content["scores"]
        single = scores[calibrated(scores)]
        errors = [single[key] for key in ("calibration_error", "calibration_error_with_temperature")]
        table.add_row(
            str(number),
            speakers_text(bundle.content["speakers"]["test"]),
            f"{scores['n_recordings']:,}",
            *_recalls(scores, ways),
            " → ".join(f"{error:.2f}" for error in errors),
        )
    n_recordings = sum(scores["n_recordings"] for scores in result.evaluation["folds"].values())
    table.add_section()
    table.add_row("all", "", f"{n_recordings:,}", *_recalls(overall, ways), "")
    return table


def _recalls(scores: dict[str, Any], ways: Sequence[str]) -> list[str]:
    asked = [("recordings", "uar"), ("recordings", "war"), *((way, "uar") for way in ways)]
    return [f"{scores[way][name]:.3f}" for way, name in asked]
