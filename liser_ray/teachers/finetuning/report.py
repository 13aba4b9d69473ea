"""What a person reads at the end of the training: a row per fold, and what is mistaken for what."""

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
    table = Table(title=f"Scores on each fold's test speakers (chance UAR {chance:.3f})", title_justify="left")
    for column in (
        "fold",
        "speakers",
        "recordings",
        "best epoch",
        "UAR",
        "WAR",
        "UAR windows",
        "WAR windows",
        "ECE",
        "T",
    ):
        table.add_column(column, justify="right" if column != "speakers" else "left")
    for number, bundle in result.bundles.items():
        scores, speakers = bundle.content["scores"], bundle.content["speakers"]["test"]
        windows = scores["windows"]
        table.add_row(
            str(number),
            " ".join(speakers) if len(speakers) <= _NAMED_SPEAKERS else f"{len(speakers)}",
            f"{scores['n_recordings']:,}",
            str(bundle.content["best_epoch"]),
            *(f"{scores[way][name]:.3f}" for way in ("recordings", "windows") for name in ("uar", "war")),
            f"{windows['calibration_error']:.3f} → {windows['calibration_error_with_temperature']:.3f}",
            f"{bundle.temperature:.2f}",
        )
    overall = result.evaluation["overall"]
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{sum(one['n_recordings'] for one in result.evaluation['folds'].values()):,}",
        "",
        *(f"{overall[way][name]:.3f}" for way in ("recordings", "windows") for name in ("uar", "war")),
        "",
        "",
    )
    return table


def _confusion_table(result: FinetuneResult) -> Table:
    table = Table("true \\ heard", title="Whole recordings, all folds", title_justify="left")
    for label in result.labels:
        table.add_column(label, justify="right")
    for label, row in zip(result.labels, result.evaluation["overall"]["recordings"]["confusion"], strict=True):
        table.add_row(label, *(f"{n:,}" if n else "·" for n in row))
    return table
