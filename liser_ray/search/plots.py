"""Pictures of a search, each as the bytes of a PNG."""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from liser_ray.search.results import SettingResult, ranked
from liser_ray.search.space import Axis, Value, short_name, value_text

_DPI = 150
# Okabe and Ito's colours, which colour-blind people can tell apart.
_BLUE, _ORANGE, _GREY = "#0072B2", "#E69F00", "#767676"
_LOGARITHMIC = 10  # ratio of an axis' ends from which on it is
_MARGIN = 1.3
_DARK = 0.55  # share of the colour scale from which on text is white


def heat_map(axes: tuple[Axis, Axis], results: Sequence[SettingResult]) -> bytes:
    """Mean UAR on the validation speakers of each pair of values, with its standard deviation over the folds.

    Args:
        axes: with choices; the first one's run from the bottom up.
        results: a setting that is missing or failed stays empty, one that was not trained to the end is in brackets.
    """
    vertical, horizontal = axes
    by_values = {(one.setting[vertical.name], one.setting[horizontal.name]): one for one in results}
    rows, columns = _in_order(vertical), _in_order(horizontal)
    found = [[by_values.get((row, column)) for column in columns] for row in rows]
    scores = np.array([[one.validation_uar if one else math.nan for one in row] for row in found])
    figure = Figure(figsize=(1.6 + 0.95 * len(columns), 1.4 + 0.7 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    plot = figure.add_subplot()
    low, high = (np.nanmin(scores), np.nanmax(scores)) if np.isfinite(scores).any() else (0.0, 1.0)
    image = plot.imshow(scores, cmap="Blues", origin="lower", aspect="auto", vmin=low, vmax=max(high, low + 1e-3))
    best = ranked(results)[0]
    for y, of_row in enumerate(found):
        for x, one in enumerate(of_row):
            if one is None or one.status == "failed":
                plot.text(x, y, "failed" if one else "", ha="center", va="center", fontsize=8, color=_GREY)
                continue
            dark = (one.validation_uar - low) / max(high - low, 1e-3) > _DARK
            plot.text(
                x,
                y,
                _cell(one),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
                fontweight="bold" if one is best else "normal",
            )
            if one is best:
                frame = [x - 0.5, x + 0.5, x + 0.5, x - 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5, y - 0.5]
                plot.plot(*frame, color=_ORANGE, linewidth=2.5, clip_on=False)
    plot.set_xticks(range(len(columns)), [value_text(value) for value in columns])
    plot.set_yticks(range(len(rows)), [value_text(value) for value in rows])
    plot.set(xlabel=short_name(horizontal.name), ylabel=short_name(vertical.name))
    plot.set_title("Validation UAR, mean ± spread over folds", fontsize=10)
    plot.spines[:].set_visible(False)
    plot.tick_params(length=0)
    figure.colorbar(image, ax=plot, shrink=0.8)
    return _png(figure)


def slices_plot(axes: Sequence[Axis], results: Sequence[SettingResult]) -> bytes:
    """UAR on the validation speakers against each axis, a dot per setting; open ones were not trained to the end."""
    figure = Figure(figsize=(1 + 3 * len(axes), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
    scored = [one for one in results if one.status != "failed"]
    best = ranked(results)[0]
    for axis, plot in zip(axes, plots, strict=True):
        places = _places(axis, plot)
        for done in (True, False):
            dots = [one for one in scored if (one.status == "done") == done]
            if not dots:
                continue
            plot.plot(
                [places(one.setting[axis.name]) for one in dots],
                [one.validation_uar for one in dots],
                "o",
                color=_BLUE,
                markersize=5,
                alpha=0.7,
                markerfacecolor=_BLUE if done else "none",
                label=None if done else "stopped",
            )
        if best in scored:
            plot.plot(
                places(best.setting[axis.name]), best.validation_uar, "D", color=_ORANGE, markersize=8, label="best"
            )
        plot.set_xlabel(short_name(axis.name))
        plot.spines[["top", "right"]].set_visible(False)
        plot.grid(color="#E5E5E5", linewidth=0.8)
        plot.set_axisbelow(True)
    plots[0].set_ylabel("validation UAR")
    plots[-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def _places(axis: Axis, plot: Axes) -> Callable[[Value], float]:
    """Sets up the horizontal axis; where a value lies on it."""
    values = axis.choices or (axis.low, axis.high)
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        plot.set_xticks(range(len(values)), [value_text(value) for value in values])
        plot.set_xlim(-0.5, len(values) - 0.5)
        return lambda value: values.index(value)
    if min(numbers) > 0 and max(numbers) / min(numbers) >= _LOGARITHMIC:
        plot.set_xscale("log")
        plot.minorticks_off()
        plot.set_xlim(min(numbers) / _MARGIN, max(numbers) * _MARGIN)
    if axis.choices:
        plot.set_xticks(numbers, [value_text(value) for value in values])
    return float


def _in_order(axis: Axis) -> list[Value]:
    """Numbers rise; names stay."""
    if any(isinstance(value, str) for value in axis.choices):
        return list(axis.choices)
    return sorted(axis.choices)


def _cell(result: SettingResult) -> str:
    mean = f"{result.validation_uar:.3f}".removeprefix("0")
    text = mean if math.isnan(result.spread) else f"{mean}\n± {result.spread:.3f}".replace("0.", ".")
    return text if result.status == "done" else f"({text})"


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    # Without the software's version, equal plots are equal bytes.
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
