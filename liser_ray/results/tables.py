"""Markdown tables of records, beside the paper's numbers, and their place in a Markdown file."""

import math
from collections.abc import Sequence

from liser_ray.results.paper import BASE, CONFIGURATIONS, SETS, paper_score, set_name
from liser_ray.results.records import SEXES, Record, select
from liser_ray.results.scores import Interval, by_sex, interval, label_recalls, paired_difference, pooled
from liser_ray.runtime.errors import UserError

NOTHING = "—"
NOT_RUN = "not run"

# Rows of Table 3: what is different, and the end of the recipes' names. The first is the method itself, from Table 2.
_ABLATIONS = (("MAE, one stage", ""), ("CE in place of MAE", "+distill-ce"), ("two stages", "+two-stage"))


def score_text(value: float) -> str:
    """A score or a difference with three decimals: ".517", "1.000", "−.012"; "—" for NaN."""
    if math.isnan(value):
        return NOTHING
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def interval_text(found: Interval) -> str:
    """A score with its interval: ".517 [.470, .560]"."""
    return f"{score_text(found.value)} [{score_text(found.low)}, {score_text(found.high)}]"


def results_table(records: Sequence[Record], rows: Sequence[str]) -> str:
    """Scores with intervals over speakers, and the paper's.

    Args:
        records: of any recipes and sets.
        rows: recipes in the order of the rows, within each set; one that no set has is a row "not run".
    """
    lines = []
    for recipe, labeled, runs in _runs(records, rows):
        paper = paper_score(recipe, labeled)
        lines.append(
            [
                recipe,
                set_name(labeled),
                str(len(runs)),
                interval_text(interval(runs, "uar")),
                interval_text(interval(runs, "war")),
                score_text(pooled(runs, "macro_f1")),
                score_text(paper.uar) if paper else NOTHING,
                score_text(paper.war) if paper else NOTHING,
            ]
        )
    run = {record.recipe for record in records}
    lines += [[recipe, NOTHING, "0", NOT_RUN, *[NOTHING] * 4] for recipe in rows if recipe not in run]
    return _table(["recipe", "set", "seeds", "UAR", "WAR", "macro-F1", "paper's UAR", "paper's WAR"], lines)


def differences_table(records: Sequence[Record], rows: Sequence[str], base: str = BASE) -> str:
    """Mean over speakers of a recipe's score minus the base recipe's, with intervals.

    Args:
        records: of any recipes and sets.
        rows: recipes in the order of the rows, within each set; what has not run, or has no base, is left out.
        base: the recipe to compare with.
    """
    lines = []
    for recipe, labeled, runs in _runs(records, [recipe for recipe in rows if recipe != base]):
        base_runs = select(records, base, labeled)
        if base_runs:
            differences = (paired_difference(runs, base_runs, metric) for metric in ("uar", "war"))
            lines.append([recipe, set_name(labeled), *map(interval_text, differences)])
    return _table([f"recipe − {base}", "set", "UAR", "WAR"], lines)


def recalls_table(records: Sequence[Record], rows: Sequence[str]) -> str:
    """Recall of each label.

    Args:
        records: of any recipes on one set.
        rows: recipes in the order of the rows; what has not run is left out.

    Raises:
        UserError: if there are no records, or of sets with other labels.
    """
    labels = {record.labels for record in records}
    if len(labels) != 1:
        raise UserError(f"A table of recalls is of one set, not of {len(labels)}. Give the records of one set.")
    lines = [[recipe, *map(score_text, label_recalls(runs).values())] for recipe, _, runs in _runs(records, rows)]
    return _table(["recipe", *labels.pop()], lines)


def sexes_table(records: Sequence[Record], rows: Sequence[str]) -> str:
    """UAR of men and of women, with intervals and the number of speakers.

    Args:
        records: of any recipes and sets.
        rows: recipes in the order of the rows, within each set; what has not run is left out, as is a set of which no
            sex is known.
    """
    lines = []
    for recipe, labeled, runs in _runs(records, rows):
        parts = by_sex(runs)
        if parts:
            cells = [
                f"{interval_text(interval(parts[sex], 'uar'))}, n = {len(parts[sex][0].confusions)}"
                if sex in parts
                else NOTHING
                for sex in SEXES
            ]
            lines.append([recipe, set_name(labeled), *cells])
    return _table(["recipe", "set", "men's UAR", "women's UAR"], lines)


def table_2(records: Sequence[Record]) -> str:
    """The paper's Table 2, our scores beside its."""
    heads = [f"{set_name(labeled)} {what}" for labeled in SETS for what in ("UAR", "paper", "WAR", "paper")]
    lines = [
        [recipe, *(cell for labeled in SETS for cell in _beside_paper(records, recipe, labeled))]
        for recipe in CONFIGURATIONS
    ]
    return _table(["configuration", *heads], lines)


def table_3(records: Sequence[Record]) -> str:
    """The paper's Table 3, ablations on RAVDESS, our scores beside its."""
    recipes = ("vid-dstl", "sp-dstl")
    heads = [f"{recipe} {what}" for recipe in recipes for what in ("UAR", "paper", "WAR", "paper")]
    lines = [
        [words, *(cell for recipe in recipes for cell in _beside_paper(records, recipe + end, "ravdess"))]
        for words, end in _ABLATIONS
    ]
    return _table(["distillation", *heads], lines)


def write_between_markers(text: str, name: str, content: str) -> str:
    """A Markdown file's text with new content between ``<!-- results:NAME -->`` and ``<!-- /results:NAME -->``.

    Raises:
        UserError: if the text has not each marker once, in this order.
    """
    begin, end = f"<!-- results:{name} -->", f"<!-- /results:{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"No place for the results {name!r}: write {begin} and {end} into the file, once each.")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content.strip()}\n{end}{rest.partition(end)[2]}"


def _runs(records: Sequence[Record], rows: Sequence[str]) -> list[tuple[str, str, list[Record]]]:
    """Recipe, set and records of each row that has any: the paper's sets first, then the others by name."""
    labeled_sets = {record.labeled for record in records}
    ordered = [*(name for name in SETS if name in labeled_sets), *sorted(labeled_sets - set(SETS))]
    runs = [(recipe, labeled, select(records, recipe, labeled)) for labeled in ordered for recipe in rows]
    return [run for run in runs if run[2]]


def _beside_paper(records: Sequence[Record], recipe: str, labeled: str) -> list[str]:
    """Cells: our UAR, the paper's, our WAR, the paper's."""
    runs, paper = select(records, recipe, labeled), paper_score(recipe, labeled)
    assert paper is not None
    return [
        interval_text(interval(runs, "uar")) if runs else NOT_RUN,
        score_text(paper.uar),
        interval_text(interval(runs, "war")) if runs else NOT_RUN,
        score_text(paper.war),
    ]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
