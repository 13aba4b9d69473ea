"""Markdown tables of records, beside published numbers, and their place in a Markdown file."""

import math
from collections.abc import Collection, Mapping, Sequence

from liser_ray.results.metrics import Metric
from liser_ray.results.paper import (
    BASE,
    CONFIGURATIONS,
    EMODISTILL,
    OTHERS,
    PAPER,
    PAPER_SETS,
    PAPERS_BEST,
    paper_order,
    set_name,
)
from liser_ray.results.records import SEXES, Record
from liser_ray.results.scores import (
    Interval,
    by_sex,
    fold_mean,
    interval,
    label_recalls,
    of_speakers,
    paired_difference,
    pooled,
)
from liser_ray.runtime.errors import UserError

_METRICS: tuple[Metric, Metric] = ("uar", "war")

NOTHING = "—"
NOT_RUN = "not run"

_ONE_SEED = "†"
_ONE_SEED_NOTE = f"\n{_ONE_SEED} One seed: the interval is over speakers alone.\n"
_SENTENCES_NOTE = "\nBoth sentences of RAVDESS are in training and in test: every actor says the same two.\n"

# Rows of Table 3: what is different, and the end of the recipes' names. The first is the method itself, from Table 2.
_ABLATIONS = {"MAE, one stage": "", "CE in place of MAE": "+distill-ce", "two stages": "+two-stage"}


def score_text(value: float) -> str:
    """A score or a difference with three decimals: ".517", "1.000", "−.012"; "—" for NaN."""
    if math.isnan(value):
        return NOTHING
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def interval_text(found: Interval) -> str:
    """A score with its interval: ".517 [.470, .560]"; ".517 [—]" of one speaker."""
    if math.isnan(found.low):
        return f"{score_text(found.value)} [{NOTHING}]"
    return f"{score_text(found.value)} [{score_text(found.low)}, {score_text(found.high)}]"


def by_set(records: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Records by set and recipe: the paper's in its order, then the others by name."""
    sets = [*PAPER_SETS]
    sets += sorted({record.labeled for record in records}.difference(sets))
    found: dict[str, dict[str, list[Record]]] = {}
    for record in sorted(records, key=lambda one: (sets.index(one.labeled), paper_order(one.recipe))):
        found.setdefault(record.labeled, {}).setdefault(record.recipe, []).append(record)
    return found


def results_table(records: Sequence[Record]) -> str:
    """Scores with intervals, and the paper's."""
    lines = []
    for recipe, labeled, runs in _runs(records):
        paper = PAPER.get((recipe, labeled))
        ours = [_cell(runs, "uar"), _cell(runs, "war"), score_text(pooled(runs, "macro_f1"))]
        papers = [score_text(paper.uar), score_text(paper.war)] if paper else [NOTHING] * 2
        lines.append([recipe, set_name(labeled), str(len(runs)), *ours, *papers])
    table = _table(["recipe", "set", "seeds", "UAR", "WAR", "macro-F1", "paper's UAR", "paper's WAR"], lines)
    return table + _SENTENCES_NOTE * any(record.labeled == "ravdess" for record in records) + _machines_note(records)


def others_table(records: Sequence[Record], unseen: Collection[str]) -> str:
    """Our UAR on RAVDESS beside others', also on the speakers who chose nothing.

    Args:
        records: of any recipes and sets.
        unseen: speakers who validated no fold, and so had no part in the choice of an epoch or of a recipe.
    """
    ours, lines = [], []
    for recipe, runs in by_set(records).get("ravdess", {}).items():
        chose_nothing = [part for run in runs if (part := of_speakers(run, unseen)).folds]
        ours.append((recipe, interval(runs, "uar")))
        lines.append([recipe, _cell(runs, "uar"), _cell(chose_nothing, "uar") if chose_nothing else NOTHING, ""])
    for one in OTHERS:
        source = f"[source]({one.source})" if one.source else "no source at hand"
        lines.append([one.what, one.score, NOTHING, f"{one.remark}; {source}"])
    best = PAPER[PAPERS_BEST].uar
    inside = [recipe for recipe, one in ours if one.low <= best <= one.high]
    others = [(recipe, one) for recipe, one in ours if recipe not in inside and not math.isnan(one.low)]
    outside = [f"{recipe} ({interval_text(one)})" for recipe, one in others]
    verdicts = [f"inside the interval of {', '.join(inside)}"] * bool(inside)
    verdicts += [f"outside that of {', '.join(outside)}"] * bool(outside)
    note = f"\nThe paper's best, {PAPERS_BEST[0]} with {score_text(best)}, lies {' and '.join(verdicts)}.\n"
    head = ["RAVDESS, eight emotions", "UAR", f"UAR of the {len(unseen)} who validated no fold", "to know"]
    return _table(head, lines) + note * bool(verdicts) + _SENTENCES_NOTE


def differences_table(records: Sequence[Record], base: str = BASE) -> str:
    """Mean over speakers of a recipe's score minus the base recipe's, with intervals, in sets that have the base."""
    lines, sets = [], by_set(records)
    for recipe, labeled, runs in _runs(records):
        base_runs = sets[labeled].get(base)
        if base_runs and recipe != base:
            lines.append([recipe, set_name(labeled), _cell(runs, "uar", base_runs), _cell(runs, "war", base_runs)])
    return _table([f"recipe − {base}", "set", "UAR", "WAR"], lines)


def recalls_table(records: Sequence[Record]) -> str:
    """Recall of each label of one set.

    Raises:
        UserError: if the records have different labels.
    """
    labels = {record.labels for record in records}
    if len(labels) != 1:
        raise UserError(f"A table of recalls is of one set, not of {len(labels)}. Give the records of one set.")
    lines = [[recipe, *map(score_text, label_recalls(runs).values())] for recipe, _, runs in _runs(records)]
    return _table(["recipe", *labels.pop()], lines)


def sexes_table(records: Sequence[Record]) -> str:
    """UAR of men and of women, with intervals and the number of speakers, where any sex is known."""
    lines = []
    for recipe, labeled, runs in _runs(records):
        if parts := by_sex(runs):
            found = [parts.get(sex) for sex in SEXES]
            cells = [f"{_cell(part, 'uar')}, n = {len(part[0].confusions)}" if part else NOTHING for part in found]
            lines.append([recipe, set_name(labeled), *cells])
    return _table(["recipe", "set", "men's UAR", "women's UAR"], lines)


def table_2(records: Sequence[Record]) -> str:
    """The paper's Table 2, our scores beside its."""
    rows = {recipe: [(recipe, labeled) for labeled in PAPER_SETS] for recipe in CONFIGURATIONS}
    return _beside_paper(records, "configuration", list(PAPER_SETS.values()), rows)


def table_3(records: Sequence[Record]) -> str:
    """The paper's Table 3, ablations on RAVDESS, our scores beside its."""
    recipes = ("vid-dstl", "sp-dstl")
    rows = {words: [(recipe + end, "ravdess") for recipe in recipes] for words, end in _ABLATIONS.items()}
    return _beside_paper(records, "distillation", recipes, rows)


def emodistill_table(records: Sequence[Record]) -> str:
    """EmoDistill's rows: what our students of them come to on any set, beside the paper's HuBERT on IEMOCAP.

    A recipe's variants, such as "emodistill+distil-labeled", are in its row; one that does without a teacher is in that
    of the recipe without it.
    """
    lines = []
    for row in EMODISTILL:
        runs = [run for run in _runs(records) if _row_of(run[0]) == row.recipe]
        paper = [" / ".join(score_text(getattr(one, of)) for one in (row.base, row.large) if one) for of in _METRICS]
        for recipe, labeled, of_run in runs:
            ours = [_cell(of_run, "uar"), score_text(fold_mean(of_run, "uar")), _cell(of_run, "war")]
            lines.append([row.what, recipe, set_name(labeled), str(len(of_run)), *ours, *paper])
        if not runs:
            lines.append([row.what, row.recipe or NOTHING, NOTHING, NOTHING, *[NOT_RUN if row.recipe else NOTHING] * 3])
            lines[-1] += paper
    head = ["row", "recipe", "set", "seeds", "UAR", "UAR, mean of folds", "WAR"]
    return _table([*head, "paper's UA, HuBERT base / large on IEMOCAP", "paper's WA"], lines)


def _row_of(recipe: str) -> str:
    base, *variants = recipe.split("+")
    left_out = [one.removeprefix("no-") for one in variants if one in ("no-prosody", "no-words")]
    return f"{base}-without-{'-'.join(left_out)}" if base == "emodistill" and left_out else base


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


def _runs(records: Sequence[Record]) -> list[tuple[str, str, list[Record]]]:
    """Recipe, set and records of each row."""
    return [(recipe, labeled, runs) for labeled, of in by_set(records).items() for recipe, runs in of.items()]


def _cell(runs: Sequence[Record], metric: Metric, base_runs: Sequence[Record] = ()) -> str:
    """A score, or a difference from the base's, with its interval, marked where that is of one seed."""
    found = paired_difference(runs, base_runs, metric) if base_runs else interval(runs, metric)
    return f"{interval_text(found)}{_ONE_SEED if found.n_seeds == 1 else ''}"


def _machines_note(records: Sequence[Record]) -> str:
    """On what was trained, of records that say so."""
    machines = [machine for record in records for machine in record.content.get("machines", ())]
    texts = {f"{one.get('gpu') or one['cpu']}, {one['threads']} threads, {one['precision']}" for one in machines}
    return f"\nTrained on {'; '.join(sorted(texts))}.\n" if texts else ""


def _beside_paper(
    records: Sequence[Record], head: str, columns: Sequence[str], rows: Mapping[str, Sequence[tuple[str, str]]]
) -> str:
    """Our UAR, the paper's, our WAR, the paper's, in each row of each column's recipe and set."""
    lines, sets = [], by_set(records)
    for words, cells in rows.items():
        lines.append([words])
        for recipe, labeled in cells:
            runs, paper = sets.get(labeled, {}).get(recipe), PAPER[recipe, labeled]
            ours = [_cell(runs, "uar"), _cell(runs, "war")] if runs else [NOT_RUN] * 2
            lines[-1] += [ours[0], score_text(paper.uar), ours[1], score_text(paper.war)]
    heads = [f"{column} {what}" for column in columns for what in ("UAR", "paper", "WAR", "paper")]
    return _table([head, *heads], lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    text = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
    return text + _ONE_SEED_NOTE * (_ONE_SEED in text)
