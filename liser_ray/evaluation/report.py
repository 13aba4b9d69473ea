"""What a person reads of an evaluation: a table, a plot, and what was left out."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from liser_ray.evaluation.conditions import CONDITIONS
from liser_ray.results.records import SEXES
from liser_ray.results.scores import Interval
from liser_ray.results.style import BLUE, GREY, make_figure, to_png
from liser_ray.results.tables import NOTHING, interval_text, score_text
from liser_ray.runtime.display import result_console
from liser_ray.training.report import confusion_table, scores_table


def markdown(content: Mapping[str, Any]) -> str:
    """The scores as a table in Markdown, with what they are of."""
    columns = _columns(content)
    lines = [f"| {' | '.join(row)} |" for row in (columns, ("---",) * len(columns), *_rows(content))]
    return "\n".join([*(f"{line}\n" for line in facts(content)), *lines]) + "\n"


def print_evaluation(content: Mapping[str, Any], output: str) -> None:
    """Print the scores, the confusions as recorded and where the files are."""
    console = result_console()
    for line in facts(content):
        console.print(line)
    named = _has_labels(content)
    title = "UAR, of men and of women too; WAR; calibration" if named else "Concordance with the raters"
    table = scores_table(title, _columns(content))
    for row in _rows(content):
        table.add_row(*row)
    console.print(table)
    name, first = next(iter(content["conditions"].items()))
    if named:
        console.print(confusion_table(content["labels"]["names"], np.array(first["confusion"]), CONDITIONS[name].words))
    console.print(f"Scores, table, plot and records: {output}", soft_wrap=True)


def facts(content: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on what was asked whom, and what was left out."""
    classifiers, labeled, labels = content["classifiers"], content["labeled"], content["labels"]
    recipes = ", ".join(dict.fromkeys(one["recipe"] for one in classifiers))
    yield f"{len(classifiers)} × {recipes} on {labeled['recordings']:,} recordings of {labeled['name']}."
    if len(classifiers) > 1:
        yield f"Asked were {', '.join(one['name'] for one in classifiers)}."
    if _has_labels(content):
        over = next(iter(content["conditions"].values()))["interval_over"]
        chance = score_text(1 / len(labels["names"]))
        yield f"UAR with its 95 % interval over {over}; of {len(labels['names'])} labels, so that chance is {chance}."
    for name, one in content["conditions"].items():
        if one["unheard"]:
            yield f"Left out, since they are silent then: {one['unheard']:,} recordings, {CONDITIONS[name].words}."
    if labels["pairs"]:
        yield f"Labels taken for the same: {', '.join(labels['pairs'])}."
    if labels["only_set"]:
        unknown = ", ".join(labels["only_set"])
        yield f"Left out, since the classifier does not know them (unless by --label_map): recordings of {unknown}."
    if labels["only_classifier"]:
        yield f"Left out, since the set does not have them: the classifier's {', '.join(labels['only_classifier'])}."


def plot(content: Mapping[str, Any]) -> bytes:
    """UAR with its interval in each condition, as a PNG."""
    conditions = content["conditions"]
    values = np.array([one["uar"] for one in conditions.values()])
    low, high = np.array([_ends(one) for one in conditions.values()]).T
    figure, axes = make_figure(6.4, 1.4 + 0.32 * len(values))
    rows = np.arange(len(values))
    reach = np.maximum(0, [values - low, high - values])
    axes.errorbar(values, rows, xerr=reach, fmt="o", color=BLUE, elinewidth=1.5, capsize=3)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(score_text(value), (value, row), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    axes.axvline(1 / len(content["labels"]["names"]), color=GREY, linestyle=":", linewidth=0.9)
    axes.set_yticks(rows, [CONDITIONS[name].words for name in conditions])
    axes.set_ylim(len(values) - 0.5, -0.7)
    axes.set_xlim(0, max(0.75, math.ceil(np.fmax(high, values).max() * 10) / 10))
    axes.grid(axis="y", visible=False)
    recipes = ", ".join(dict.fromkeys(one["recipe"] for one in content["classifiers"]))
    axes.set(xlabel="UAR, with its 95 % interval (dotted: chance)", title=f"{recipes}, {content['labeled']['name']}")
    return to_png(figure)


def _ends(one: Mapping[str, Any]) -> tuple[float, float]:
    """Of the interval in a condition; NaN where one speaker is all that there is."""
    return tuple(one["uar_interval"] or (math.nan, math.nan))


def _columns(content: Mapping[str, Any]) -> tuple[str, ...]:
    first = next(iter(content["conditions"].values()))
    of_labels = ("UAR", "WAR", "men", "women", "ECE", "Brier") if _has_labels(content) else ()
    return "condition", *of_labels, *(f"CCC {name}" for name in first["ccc"])


def _has_labels(content: Mapping[str, Any]) -> bool:
    return len(content["labels"]["names"]) > 1


def _rows(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, one in content["conditions"].items():
        sexes = [score_text(one["sexes"][sex]) if sex in one["sexes"] else NOTHING for sex in SEXES]
        of_labels = (
            interval_text(Interval(one["uar"], *_ends(one))),
            score_text(one["war"]),
            *sexes,
            score_text(one["calibration_error"]),
            score_text(one["brier_score"]),
        )
        concordances = (NOTHING if of is None else score_text(of) for of in one["ccc"].values())
        yield CONDITIONS[name].words, *(of_labels if _has_labels(content) else ()), *concordances
