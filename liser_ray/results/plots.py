"""Plots of records, each as the bytes of a PNG."""

from collections.abc import Mapping, Sequence

import numpy as np

from liser_ray.results.paper import BASE, paper_order, set_name, share_of
from liser_ray.results.records import Record, is_taught_by_more
from liser_ray.results.scores import Interval, interval, paired_difference, pooled, speaker_scores
from liser_ray.results.style import (
    BLUE,
    COLOURS,
    GREY,
    MARKERS,
    ORANGE,
    draw_matrix,
    make_figure,
    put_legend_beside,
    to_png,
)
from liser_ray.results.tables import interval_text, score_text

_MOST_NAMED = 60  # speakers whose names fit below their dots


def figure_2(records: Sequence[Record]) -> bytes:
    """UAR against the share of the labels, a line for each recipe with 95 % intervals, as in the paper's Figure 2.

    Points are open where teachers have heard more labels than their students.

    Args:
        records: of one set; recipes with fewer labels are named as by `liser_ray.results.paper.with_share`.
    """
    lines: dict[str, dict[int, list[Record]]] = {}
    for record in records:
        recipe, percent = share_of(record.recipe)
        lines.setdefault(recipe, {}).setdefault(percent, []).append(record)
    percents = sorted({percent for points in lines.values() for percent in points})
    # Side by side, so that intervals of recipes with the same share can be told apart.
    step = min(1.5, 0.7 * min(np.diff(percents), default=100) / len(lines))
    figure, axes = make_figure(7.2, 4.2)
    unfair: list[tuple[float, float, str, str]] = []  # place, marker and colour of points
    for number, recipe in enumerate(sorted(lines, key=paper_order)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        points = sorted(lines[recipe].items())
        shift = step * (number - (len(lines) - 1) / 2)
        values, reach = _with_reach([interval(runs, "uar") for _, runs in points])
        axes.errorbar(
            [percent + shift for percent, _ in points],
            values,
            yerr=reach,
            color=colour,
            marker=marker,
            markersize=5,
            elinewidth=1,
            capsize=2.5,
            label=recipe,
        )
        unfair += [
            (percent + shift, value, marker, colour)
            for (percent, runs), value in zip(points, values, strict=True)
            if any(map(is_taught_by_more, runs))
        ]
    for index, (at, value, marker, colour) in enumerate(unfair):
        label = "" if index else "open: its teachers heard more labels"
        axes.plot(at, value, marker, color=colour, markerfacecolor="white", markersize=5, zorder=3, label=label)
    if base := lines.get(BASE, {}).get(100):
        label = f"{BASE}, all labels"
        axes.axhline(pooled(base, "uar"), color=GREY, linewidth=0.9, linestyle="--", zorder=0, label=label)
    axes.set_xticks(percents, [f"{percent} %" for percent in percents])
    axes.set(
        xlabel="share of the labeled recordings", ylabel="UAR", title=f"Fewer labels, {set_name(records[0].labeled)}"
    )
    axes.margins(x=0.06)
    put_legend_beside(axes)
    return to_png(figure)


def confusion_plot(records: Sequence[Record]) -> bytes:
    """What is said of each true label, in percent of its recordings; all test speakers pooled, mean over seeds.

    Errors: as for `liser_ray.results.scores.pooled`.
    """
    found, first = interval(records, "uar"), records[0]
    counts = np.sum([confusion for record in records for confusion in record.confusions.values()], axis=0)
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    texts = [[f"{share:.0f}" for share in row] for row in shares]
    n_labels = len(first.labels)
    figure, axes = make_figure(2.2 + 0.55 * n_labels, 1.9 + 0.5 * n_labels)
    draw_matrix(axes, shares, texts, (0, 100), (first.labels, first.labels), "% of a label's recordings")
    axes.set_xticks(range(n_labels), first.labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set(xlabel="said", ylabel="true", title=f"{_title(records)}\nUAR {interval_text(found)}")
    return to_png(figure)


def differences_plot(by_recipe: Mapping[str, Sequence[Record]]) -> bytes:
    """Mean over speakers of each recipe's UAR minus that of `BASE`, with 95 % intervals.

    Args:
        by_recipe: records of the base and of other recipes on one set; the rows from the top down.

    Raises:
        UserError: as `liser_ray.results.scores.paired_difference`.
    """
    others = [recipe for recipe in by_recipe if recipe != BASE]
    found = [paired_difference(by_recipe[recipe], by_recipe[BASE], "uar") for recipe in others]
    values, reach = _with_reach(found)
    figure, axes = make_figure(6.4, 1.5 + 0.42 * len(others))
    axes.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
    axes.errorbar(values, range(len(others)), xerr=reach, fmt="o", color=BLUE, elinewidth=1.5, capsize=3)
    for row, one in enumerate(found):
        text = score_text(one.value)
        axes.annotate(text, (one.value, row), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(range(len(others)), [name.replace("+", "\n+", 1) for name in others])  # the longest are broken
    axes.set_ylim(len(others) - 0.5, -0.7)
    axes.grid(axis="y", visible=False)
    over = min(found, key=lambda one: one.n_seeds).over
    words = f"UAR above that of {BASE}\n(mean over speakers, with 95 % interval over {over})"
    axes.set(xlabel=words, title=set_name(by_recipe[BASE][0].labeled))
    return to_png(figure)


def speakers_plot(records: Sequence[Record]) -> bytes:
    """UAR of each test speaker as a dot, from the lowest to the highest, in a colour and shape for the sex.

    Errors: as for `liser_ray.results.scores.pooled`.
    """
    scores = speaker_scores(records, "uar")
    sexes = {speaker: sex for record in records for speaker, sex in record.sexes.items()}
    ranked = sorted(scores, key=lambda speaker: scores[speaker])
    named = len(ranked) <= _MOST_NAMED
    figure, axes = make_figure(min(11.0, max(5.0, 1.6 + 0.24 * len(ranked))), 3.8)
    for sex, words, colour, marker in (
        ("woman", "women", ORANGE, "o"),
        ("man", "men", BLUE, "s"),
        ("", "sex not known", GREY, "D"),
    ):
        places = [place for place, speaker in enumerate(ranked) if sexes.get(speaker, "") == sex]
        if places:
            values, size = [scores[ranked[place]] for place in places], 6 if named else 4
            label = f"{words} ({len(places)})"
            axes.plot(places, values, marker, color=colour, markersize=size, label=label)
    value = pooled(records, "uar")
    label = f"all together: {score_text(value)}"
    axes.axhline(value, color=GREY, linewidth=0.9, linestyle="--", zorder=0, label=label)
    axes.axhline(1 / len(records[0].labels), color="black", linewidth=0.9, linestyle=":", zorder=0, label="chance")
    axes.set_xticks([])
    if named:
        axes.set_xticks(range(len(ranked)), ranked, fontsize=8, rotation=90 if max(map(len, ranked)) > 2 else 0)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1)
    axes.set(xlabel="test speakers, by their score", ylabel="UAR", title=_title(records))
    put_legend_beside(axes)
    return to_png(figure)


def _title(records: Sequence[Record]) -> str:
    return f"{records[0].recipe}, {set_name(records[0].labeled)}"


def _with_reach(found: Sequence[Interval]) -> tuple[np.ndarray, np.ndarray]:
    """Values [n], and lengths of their error bars [2, n]: not below 0, as percentiles of few draws might make them."""
    values = np.array([one.value for one in found])
    reach = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
    return values, np.maximum(0, reach)
