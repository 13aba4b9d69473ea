"""Pictures of a search, each as the bytes of a PNG."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from optuna.distributions import BaseDistribution

from liser_ray.results.style import BLUE, ORANGE, draw_matrix, make_figure, put_legend_beside, to_png
from liser_ray.search.results import SettingResult, ranked, uar_text
from liser_ray.search.space import Space, Value, ends_or_choices, is_range, short_name, value_text


def heat_map(space: Space, results: Sequence[SettingResult]) -> bytes:
    """Mean UAR on the validation speakers of each pair of values of two fields, with its deviation over the folds.

    What is missing or failed stays empty, what was not trained to the end is in brackets.
    """
    vertical, horizontal = space
    by_values = {(one.setting[vertical], one.setting[horizontal]): one for one in results}
    rows, columns = map(ends_or_choices, space.values())
    found = [[by_values.get((row, column)) for column in columns] for row in rows]
    scores = np.array([[one.validation_uar if one else math.nan for one in row] for row in found])
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    figure, plot = make_figure(1.6 + 0.95 * len(columns), 1.4 + 0.7 * len(rows))
    names = ([value_text(value) for value in rows], [value_text(value) for value in columns])
    draw_matrix(plot, scores, [[_cell(one) for one in row] for row in found], (low, max(high, low + 1e-3)), names)
    plot.invert_yaxis()
    best = ranked(results)[0]
    for (y, x), one in np.ndenumerate(np.array(found, object)):
        if one is best and one.status != "failed":
            plot.texts[y * len(columns) + x].set_fontweight("bold")
            plot.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2.5, clip_on=False))
    plot.set(xlabel=short_name(horizontal), ylabel=short_name(vertical))
    plot.set_title("Validation UAR, mean ± spread over folds", fontsize=10)
    return to_png(figure)


def slices_plot(space: Space, results: Sequence[SettingResult]) -> bytes:
    """UAR on the validation speakers against each field, a dot per setting; open ones were not trained to the end."""
    figure, plots = make_figure(1 + 3 * len(space), 3.2, 1, len(space), sharey=True, squeeze=False)
    scored = [one for one in results if one.status != "failed"]
    best = ranked(results)[0]
    for (name, values), plot in zip(space.items(), plots[0], strict=True):
        places = _places(values, plot)
        for done, fill, label in ((True, BLUE, None), (False, "none", "stopped")):
            dots = [one for one in scored if (one.status == "done") == done]
            if dots:
                across, up = [places(one.setting[name]) for one in dots], [one.validation_uar for one in dots]
                plot.plot(across, up, "o", color=BLUE, markersize=5, alpha=0.7, markerfacecolor=fill, label=label)
        if best in scored:
            place = places(best.setting[name])
            plot.plot(place, best.validation_uar, "D", color=ORANGE, markersize=8, label="best")
        plot.set_xlabel(short_name(name))
    plots[0][0].set_ylabel("validation UAR")
    put_legend_beside(plots[0][-1])
    return to_png(figure)


def _places(values: BaseDistribution, plot: Axes) -> Callable[[Value], float]:
    """Sets up the horizontal axis; where a value lies on it: choices side by side, a range as it is drawn from."""
    if is_range(values):
        plot.set_xscale("log" if values.log else "linear")  # type: ignore[attr-defined]
        return float
    choices = ends_or_choices(values)
    plot.set_xticks(range(len(choices)), list(map(value_text, choices)))
    plot.set_xlim(-0.5, len(choices) - 0.5)
    return choices.index


def _cell(result: SettingResult | None) -> str:
    if result is None or result.status == "failed":
        return "failed" if result else ""
    text = uar_text(result).replace(" ±", "\n±")
    return text if result.status == "done" else f"({text})"
