"""Plots of records, each as the bytes of a PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from liser_ray.results.paper import BASE, CONFIGURATIONS, set_name, share_of
from liser_ray.results.records import Record
from liser_ray.results.scores import Metric, interval, paired_difference, pooled, speaker_scores
from liser_ray.results.tables import score_text
from liser_ray.runtime.errors import UserError

# Okabe and Ito's palette, which colour-blind readers can tell apart; the markers say the same once more.
_BLUE, _ORANGE, _GREY = "#0072B2", "#E69F00", "#767676"
_COLOURS = (_BLUE, "#D55E00", "#009E73", "#CC79A7", _ORANGE, "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DPI = 150
_MOST_NAMED = 60  # speakers whose names fit below their dots
_METRIC_NAMES: dict[Metric, str] = {"uar": "UAR", "war": "WAR", "macro_f1": "macro-F1"}
_PAIRED = "mean over speakers of the difference, with 95 % interval"


def figure_2(records: Sequence[Record]) -> bytes:
    """UAR against the share of the labels, a line for each recipe with 95 % intervals, as in the paper's Figure 2.

    Args:
        records: of one set; recipes with fewer labels are named as by `liser_ray.results.paper.with_share`.

    Raises:
        UserError: if there are no records, or of several sets.
    """
    labeled = _the_set(records)
    lines: dict[str, dict[int, list[Record]]] = {}
    for record in records:
        recipe, percent = share_of(record.recipe)
        lines.setdefault(recipe, {}).setdefault(percent, []).append(record)
    percents = sorted({percent for points in lines.values() for percent in points})
    # Side by side, so that intervals of recipes with the same share can be told apart.
    step = min(1.5, 0.7 * min(np.diff(percents), default=100) / len(lines))
    figure, axes = _figure(7.2, 4.2)
    for number, recipe in enumerate(sorted(lines, key=_paper_order)):
        points = sorted(lines[recipe].items())
        found = [interval(runs, "uar") for _, runs in points]
        values = np.array([one.value for one in found])
        shift = step * (number - (len(lines) - 1) / 2)
        axes.errorbar(
            [percent + shift for percent, _ in points],
            values,
            yerr=_reach(values, [one.low for one in found], [one.high for one in found]),
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=1.5,
            elinewidth=1,
            capsize=2.5,
            label=recipe,
        )
    base = lines.get(BASE, {}).get(100)
    if base:
        value = pooled(base, "uar")
        axes.axhline(value, color=_GREY, linewidth=0.9, linestyle="--", zorder=0, label=f"{BASE}, all labels")
    axes.set_xticks(percents, [f"{percent} %" for percent in percents])
    axes.set(xlabel="share of the labeled recordings", ylabel="UAR", title=f"Fewer labels, {set_name(labeled)}")
    axes.margins(x=0.06)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def confusion_plot(records: Sequence[Record]) -> bytes:
    """What is said of each true label, in percent of its recordings; all test speakers pooled, mean over seeds.

    Args:
        records: of one recipe on one set, one per seed.

    Raises:
        UserError: as `liser_ray.results.scores.pooled`.
    """
    found, first = interval(records, "uar"), records[0]
    counts = sum(np.sum(list(record.confusions.values()), axis=0) for record in records)
    occurring = np.asarray(counts).sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, occurring, out=np.zeros(np.shape(counts)), where=occurring > 0)
    n_labels = len(first.labels)
    figure, axes = _figure(2.2 + 0.55 * n_labels, 1.9 + 0.5 * n_labels)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(n_labels, n_labels):
        share = shares[row, column]
        colour = "white" if share > 60 else "black"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(n_labels), first.labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_labels), first.labels)
    axes.set(xlabel="said", ylabel="true")
    axes.set_title(
        f"{first.recipe}, {set_name(first.labeled)}\n"
        f"UAR {score_text(found.value)} [{score_text(found.low)}, {score_text(found.high)}]"
    )
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.8, label="% of a label's recordings")
    return _png(figure)


def differences_plot(by_recipe: Mapping[str, Sequence[Record]], base: str = BASE, metric: Metric = "uar") -> bytes:
    """Mean over speakers of each recipe's score minus the base recipe's, with 95 % intervals.

    Args:
        by_recipe: records of each recipe, all on one set; the rows from the top down.
        base: the recipe to compare with.
        metric: of each speaker.

    Raises:
        UserError: if the base or any other recipe is missing, and as `liser_ray.results.scores.paired_difference`.
    """
    others = [recipe for recipe in by_recipe if recipe != base]
    if not by_recipe.get(base) or not others:
        raise UserError(f"Differences need records of {base} and of another recipe. Run both.")
    labeled = _the_set([record for runs in by_recipe.values() for record in runs])
    found = [paired_difference(by_recipe[recipe], by_recipe[base], metric) for recipe in others]
    values = np.array([one.value for one in found])
    figure, axes = _figure(6.4, 1.5 + 0.42 * len(others))
    axes.axvline(0, color=_GREY, linewidth=0.9, linestyle="--")
    axes.errorbar(
        values,
        range(len(others)),
        xerr=_reach(values, [one.low for one in found], [one.high for one in found]),
        fmt="o",
        color=_BLUE,
        markersize=6,
        elinewidth=1.5,
        capsize=3,
    )
    for row, one in enumerate(found):
        axes.annotate(
            score_text(one.value), (one.value, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_yticks(range(len(others)), [name.replace("+", "\n+", 1) for name in others])  # the longest are broken
    axes.set_ylim(len(others) - 0.5, -0.7)
    axes.set(xlabel=f"{_METRIC_NAMES[metric]} above that of {base}\n({_PAIRED})", title=set_name(labeled))
    return _png(figure)


def speakers_plot(records: Sequence[Record], metric: Metric = "uar") -> bytes:
    """Score of each test speaker as a dot, from the lowest to the highest, in a colour and shape for the sex.

    Args:
        records: of one recipe on one set, one per seed.
        metric: of each speaker.

    Raises:
        UserError: as `liser_ray.results.scores.pooled`.
    """
    scores = speaker_scores(records, metric)
    sexes = {speaker: sex for record in records for speaker, sex in record.sexes.items()}
    ranked = sorted(scores, key=lambda speaker: scores[speaker])
    named = len(ranked) <= _MOST_NAMED
    figure, axes = _figure(min(11.0, max(5.0, 1.6 + 0.24 * len(ranked))), 3.8)
    kinds = (("woman", "women", _ORANGE, "o"), ("man", "men", _BLUE, "s"), ("", "sex not known", _GREY, "D"))
    for sex, words, colour, marker in kinds:
        places = [place for place, speaker in enumerate(ranked) if sexes.get(speaker, "") == sex]
        if places:
            axes.plot(
                places,
                [scores[ranked[place]] for place in places],
                color=colour,
                marker=marker,
                markersize=6 if named else 4,
                linestyle="none",
                label=f"{words} ({len(places)})",
            )
    value = pooled(records, metric)
    all_words = f"all together: {score_text(value)}"
    axes.axhline(value, color=_GREY, linewidth=0.9, linestyle="--", zorder=0, label=all_words)
    if metric == "uar":
        axes.axhline(1 / len(records[0].labels), color="black", linewidth=0.9, linestyle=":", zorder=0, label="chance")
    if named:
        axes.set_xticks(range(len(ranked)), ranked, fontsize=8, rotation=90 if max(map(len, ranked)) > 2 else 0)
    else:
        axes.set_xticks([])
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1)
    axes.set(
        xlabel="test speakers, by their score",
        ylabel=_METRIC_NAMES[metric],
        title=f"{records[0].recipe}, {set_name(records[0].labeled)}",
    )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def _the_set(records: Sequence[Record]) -> str:
    names = sorted({record.labeled for record in records})
    if len(names) != 1:
        raise UserError(f"A plot is of one set, not of {', '.join(names) or 'none'}. Give the records of one set.")
    return names[0]


def _paper_order(recipe: str) -> tuple[int, str]:
    return (CONFIGURATIONS.index(recipe) if recipe in CONFIGURATIONS else len(CONFIGURATIONS)), recipe


def _reach(values: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Lengths of error bars below and above, [2, n]; never below 0, as percentiles of few draws might make them."""
    return np.maximum(0, np.stack([values - np.array(low), np.array(high) - values]))


def _figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """A figure outside of pyplot, which keeps figures alive and wants the main thread."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.title.set_fontsize(11)
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    # Without the software's version, equal plots are equal bytes.
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
