"""Figures as SVG to stand in a page: their colours are the page's, so they follow its light or dark scheme.

Text that comes from a corpus never enters a figure: Matplotlib would take dollar signs in it for formulas.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from liser_ray.labeling.page.histogram import Histogram
from liser_ray.labeling.page.runs import Run

# Colours that nothing else has, each to be replaced by one of the page.
_TEXT, _GRID, _FILL, _MARK = "#010101", "#020202", "#030303", "#040404"
_OF_PAGE = {_TEXT: "var(--muted)", _GRID: "var(--line)", _FILL: "var(--blue)", _MARK: "var(--orange)"}
_SIZE_IN = (3.4, 1.9)
_WIDE_IN = (9.6, 2.3)
_PANELS = 4
_NARROWEST = 0.15  # of the figure's width, for the shortest run
_POINTS = 120  # of a run
_STYLE: Any = {  # the stubs want every key as a literal
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.size": 9,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "axes.edgecolor": _GRID,
}

Ticks = Mapping[float, str]
"""Where an axis has ticks, and what they say."""


def histogram_figure(
    name: str,
    histogram: Histogram,
    quantity: str,
    unit: str,
    ticks: Ticks | None = None,
    mark: tuple[float, str] | None = None,
    log: bool = False,
) -> Markup:
    """Shares of the values in each bin, with the median and perhaps another mark.

    Args:
        name: of the figure, different from all others of the page; letters, digits and dashes.
        histogram: to show.
        quantity: with its unit, below the axis.
        unit: what was counted, in the plural.
        ticks: of the horizontal axis, if not Matplotlib's.
        mark: a value worth comparing with, and its name.
        log: whether the horizontal axis is logarithmic.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _prepare(axes)
        axes.stairs(100 * histogram.counts / max(1, histogram.n), histogram.edges, color=_FILL, fill=True, lw=0)
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        if mark:
            axes.axvline(mark[0], color=_TEXT, lw=1.2, ls=":", label=mark[1])
        if histogram.n:
            axes.axvline(histogram.median, color=_MARK, lw=1.8, label="median")
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlim(histogram.edges[0], histogram.edges[-1])
        axes.set(xlabel=quantity, ylabel=f"% of {unit}")
        if mark or histogram.n:
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.1)

    return _svg(name, f"{quantity}, {histogram.n:,} {unit}", _SIZE_IN, draw)


def speed_figure(name: str, runs: Sequence[Run]) -> Markup:
    """Hours of video that are labeled per hour, on the clock: a panel for each of the last few runs.

    Between runs may lie days, so the panels are as wide as the runs are long, not the pauses.
    """
    shown = [run for run in runs if len(run.elapsed_s)][-_PANELS:]
    lengths_s = np.array([run.elapsed_s[-1] for run in shown])

    def draw(figure: Figure) -> None:
        widths = np.maximum(lengths_s / lengths_s.sum(), _NARROWEST)
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False, width_ratios=widths)[0]
        for run, width, axes in zip(shown, widths / widths.sum(), panels, strict=True):
            _prepare(axes)
            ends, speeds = run.speeds(_POINTS)
            axes.stairs(speeds, date2num(ends), color=_FILL, fill=True, lw=0)
            locator = AutoDateLocator(tz=UTC, minticks=2, maxticks=max(5, round(8 * width)))
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel("hours of video per hour")

    return _svg(name, f"hours of video per hour over time, {len(shown)} runs", _WIDE_IN, draw)


def _prepare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _svg(name: str, description: str, size_in: tuple[float, float], draw: Callable[[Figure], None]) -> Markup:
    out = io.StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    for colour, of_page in _OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    svg = re.sub(r'font-family: [^;"]*', "font-family: inherit", svg)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg)  # HTML needs none
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)  # ids are unique in a page
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{description}" class="figure" ', 1))
