"""What a person reads at the end of the training: a row per run, the score over all test speakers, the confusions."""

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from liser_ray.results.metrics import macro_f1, uar, war
from liser_ray.results.paper import PAPER
from liser_ray.results.records import RECORDS_FOLDER, Record, mean_concordances, sorted_speakers
from liser_ray.results.scores import interval, pooled
from liser_ray.results.tables import interval_text, score_text
from liser_ray.runtime.display import result_console
from liser_ray.student.training.job import StudentResult
from liser_ray.training.report import confusion_table, scores_table, speakers_text


def print_result(result: StudentResult) -> None:
    """Print the scores of every run and where the students are."""
    console = result_console()
    if not result.trained:
        console.print("Nothing to do: every fold and seed has its student already.")
    records = result.records
    of_all = [name for name in result.trained if name.endswith("-all")]
    if of_all or not records:
        names = ", ".join(f"{result.output}/{name}" for name in of_all or ["seed-*-all"])
        console.print(f"Of all speakers, to be used: {names}", soft_wrap=True)
        console.print("Nobody is left to score on. The card has the recipe's scores, if --folds all was run.")
    if not records:
        return
    sets = {record.labeled: [one for one in records if one.labeled == record.labeled] for record in records}
    for labeled, of_set in sets.items():
        labels, of = of_set[0].labels, f" of {labeled}" * (len(sets) > 1)
        for name, mean in mean_concordances(of_set).items():
            console.print(f"{name}{of}: CCC {score_text(mean)} on the test speakers, the mean over the seeds")
        if len(labels) < 2:
            continue
        console.print(_run_table(of_set, of))
        total = np.sum([confusion for record in of_set for confusion in record.confusions.values()], axis=0)
        console.print(confusion_table(labels, total, f"all folds and seeds{of}"))
        found = interval(of_set, "uar")
        scores = f"UAR {interval_text(found)} · WAR {interval_text(interval(of_set, 'war'))}"
        chance = f"chance {1 / len(labels):.3f}"
        console.print(f"{result.name}{of}: {scores} (95 % interval over {found.over}; {chance})")
        paper = PAPER.get((result.name, labeled))
        if paper is not None:
            console.print(f"The paper's: UAR {score_text(paper.uar)} · WAR {score_text(paper.war)}")
    console.print(f"Students: {result.output}/seed-*-fold-*, with curves.png", soft_wrap=True)
    console.print(f"Records: {result.output}/{RECORDS_FOLDER}", soft_wrap=True)


def _run_table(records: Sequence[Record], of_set: str) -> Table:
    columns = ("seed", "fold", "speakers", "n", "epoch", "val. UAR", "UAR", "WAR", "F1")
    table = scores_table(f"Scores on each fold's test speakers{of_set}", columns)
    for record in records:
        for fold in record.folds:
            confusion = np.sum(list(fold.confusions.values()), axis=0)
            table.add_row(
                str(record.seed),
                str(fold.fold),
                speakers_text(sorted_speakers(fold.confusions)),
                f"{confusion.sum():,}",
                f"{fold.best_epoch}/{fold.epochs}",
                "" if fold.validation_uar is None else f"{fold.validation_uar:.3f}",
                *(f"{score(confusion):.3f}" for score in (uar, war, macro_f1)),
            )
        n = sum(confusion.sum() for confusion in record.confusions.values())
        scores = [f"{pooled([record], metric):.3f}" for metric in ("uar", "war", "macro_f1")]
        table.add_row(str(record.seed), "all", "", f"{n:,}", "", "", *scores, end_section=True)
    return table
