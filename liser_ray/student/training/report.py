"""What a person reads at the end of the training: a row per run, the score over all test speakers, the confusions."""

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from liser_ray.corpora.utterance import sorted_speakers
from liser_ray.results.metrics import Metric, macro_f1, uar, war
from liser_ray.results.paper import paper_score
from liser_ray.results.records import Record
from liser_ray.results.scores import interval, pooled
from liser_ray.results.tables import interval_text, score_text
from liser_ray.student.training.job import RECORDS_FOLDER, StudentResult

_METRICS: tuple[Metric, ...] = ("uar", "war", "macro_f1")
_NAMED_SPEAKERS = 6
_LABEL_CHARS = 6  # eight labels fit 80 characters


def print_result(result: StudentResult) -> None:
    """Print the scores of every run and where the students are."""
    console = Console(highlight=False)
    if not result.trained:
        console.print("Nothing to do: every fold and seed has its student already.")
    records = result.records
    console.print(_run_table(records))
    console.print(_confusion_table(records))
    found = interval(records, "uar")
    scores = f"UAR {interval_text(found)} · WAR {interval_text(interval(records, 'war'))}"
    console.print(f"{result.name}: {scores} (95 % interval over {found.over}; chance {1 / len(records[0].labels):.3f})")
    paper = paper_score(result.name, records[0].labeled)
    if paper is not None:
        console.print(f"The paper's: UAR {score_text(paper.uar)} · WAR {score_text(paper.war)}")
    console.print(f"Students: {result.output}/seed-*-fold-*, with curves.png", soft_wrap=True)
    console.print(f"Records: {result.output}/{RECORDS_FOLDER}", soft_wrap=True)


def _run_table(records: tuple[Record, ...]) -> Table:
    table = Table(title="Scores on each fold's test speakers", title_justify="left", box=box.SIMPLE)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("fold", justify="right", no_wrap=True)
    table.add_column("speakers")  # may wrap; the numbers must not
    for column in ("n", "epoch", "val. UAR", "UAR", "WAR", "F1"):
        table.add_column(column, justify="right", no_wrap=True)
    for record in records:
        for fold in record.folds:
            confusion = np.sum(list(fold.confusions.values()), axis=0)
            speakers = sorted_speakers(fold.confusions)
            table.add_row(
                str(record.seed),
                str(fold.fold),
                " ".join(speakers) if len(speakers) <= _NAMED_SPEAKERS else f"{len(speakers)} speakers",
                f"{confusion.sum():,}",
                f"{fold.best_epoch}/{fold.epochs}",
                "" if fold.validation_uar is None else f"{fold.validation_uar:.3f}",
                *(f"{score(confusion):.3f}" for score in (uar, war, macro_f1)),
            )
        n = sum(confusion.sum() for confusion in record.confusions.values())
        scores = [f"{pooled([record], metric):.3f}" for metric in _METRICS]
        table.add_row(str(record.seed), "all", "", f"{n:,}", "", "", *scores, end_section=True)
    return table


def _confusion_table(records: tuple[Record, ...]) -> Table:
    labels = records[0].labels
    title = "True label (row) and heard label, all folds and seeds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    for label in labels:
        table.add_column(label[:_LABEL_CHARS], justify="right", no_wrap=True)
    total = np.sum([confusion for record in records for confusion in record.confusions.values()], axis=0)
    for label, row in zip(labels, total, strict=True):
        table.add_row(label, *(f"{n:,}" if n else "·" for n in row))
    return table
