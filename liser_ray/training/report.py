"""Tables that a person reads at the end of a training."""

from collections.abc import Collection, Sequence

import numpy as np
from rich import box
from rich.table import Table

_NAMED_SPEAKERS = 6
_LABEL_CHARS = 6  # eight labels fit 80 characters


def scores_table(title: str, columns: Sequence[str]) -> Table:
    """An empty table of scores, numbers to the right; what is called "speakers" may wrap."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "speakers" else "right", no_wrap=column != "speakers")
    return table


def speakers_text(speakers: Collection[str]) -> str:
    """Their names, or how many there are."""
    return " ".join(speakers) if len(speakers) <= _NAMED_SPEAKERS else f"{len(speakers)} speakers"


def confusion_table(labels: Sequence[str], confusion: np.ndarray, title: str) -> Table:
    """Counts int64 [K, K]: row the true label, column the one that was heard."""
    table = Table(title=f"True label (row) and heard label, {title}", title_justify="left", box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    for label in labels:
        table.add_column(label[:_LABEL_CHARS], justify="right", no_wrap=True)
    for label, row in zip(labels, confusion, strict=True):
        table.add_row(label, *(f"{n:,}" if n else "·" for n in row))
    return table
