"""Figures as SVG to stand in a page: their colours are the page's, so they follow its light or dark scheme.

Text that comes from a corpus never enters a figure: Matplotlib would take dollar signs in it for formulas.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from liser_ray.labeling.page.statistics import Histogram
from liser_ray.labeling.run_card import RunRecord
from liser_ray.results.style import prepare

# Colours that nothing else has, each to be replaced by one of the page.
_TEXT, _GRID, _FILL, _MARK = "#010101", "#020202", "#030303", "#040404"
_OF_PAGE = {_TEXT: "var(--muted)", _GRID: "var(--line)", _FILL: "var(--blue)", _MARK: "var(--orange)"}
_PANELS = 4
_NARROWEST = 0.15  # of the figure's width, for the shortest run
_POINTS = 120  # of a run
_STYLE: Any = {  # the stubs want every key as a literal
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.size": 9,
    "axes.edgecolor": _GRID,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT),
}


def histogram_figure(
    name: str,
    histogram: Histogram,
    quantity: str,
    unit: str,
    ticks: Mapping[float, str] | None = None,
    no_opinion: float | None = None,
    log: bool = False,
) -> Markup:
    """Shares of the values in each bin, with the median.

    Args:
        name: of the figure, different from all others of the page; letters, digits and dashes.
        histogram: to show, of a quantity with its unit.
        quantity: below the axis.
        unit: what was counted, in the plural.
        ticks: of the horizontal axis, which may be ``log``, if not Matplotlib's, and what they say.
        no_opinion: a value to mark as that of a teacher without one.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        prepare(axes, _GRID, "y")
        axes.stairs(100 * histogram.counts / max(1, histogram.n), histogram.edges, color=_FILL, fill=True, lw=0)
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        if no_opinion is not None:
            axes.axvline(no_opinion, color=_TEXT, lw=1.2, ls=":", label="no opinion")
        axes.axvline(histogram.median, color=_MARK, lw=1.8, label="median")
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlim(histogram.edges[0], histogram.edges[-1])
        axes.set(xlabel=quantity, ylabel=f"% of {unit}")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.1)

    return _svg(name, f"{quantity}, {histogram.n:,} {unit}", (3.4, 1.9), draw)


def speed_figure(runs: Sequence[RunRecord]) -> Markup:
    """Hours of video that are labeled per hour, on the clock: a panel for each of the last few runs with samples.

    Between runs may lie days, so the panels are as wide as the runs are long, not the pauses.
    """
    shown = [run for run in runs if run.samples][-_PANELS:]
    lengths_s = np.array([run.samples[-1][0] for run in shown])
    widths = np.maximum(lengths_s / max(1e-9, lengths_s.sum()), _NARROWEST)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False, width_ratios=widths)[0]
        for run, width, axes in zip(shown, widths / widths.sum(), panels, strict=True):
            prepare(axes, _GRID, "y")
            ends, speeds = speeds_of(run)
            axes.stairs(speeds, date2num(ends), color=_FILL, fill=True, lw=0)
            locator = AutoDateLocator(tz=UTC, minticks=2, maxticks=max(5, round(8 * width)))
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel("hours of video per hour")

    return (
        _svg("speed", f"hours of video per hour over time, {len(shown)} runs", (9.6, 2.3), draw) if shown else Markup()
    )


def speeds_of(run: RunRecord, n_points: int = _POINTS) -> tuple[list[datetime], np.ndarray]:
    """A run with samples in at most so many stretches: their ends [n + 1], and hours of video per hour in each [n]."""
    elapsed_s, _, video_s = np.array([(0, 0, 0), *run.samples], np.float64).T
    ends_s = np.linspace(0, max(1e-9, elapsed_s[-1]), min(n_points, len(run.samples)) + 1)
    started = datetime.fromisoformat(run.started)
    done_s = np.interp(ends_s, elapsed_s, video_s)
    return [started + timedelta(seconds=one) for one in ends_s.tolist()], np.diff(done_s) / np.diff(ends_s)


def _svg(name: str, description: str, size_in: tuple[float, float], draw: Callable[[Figure], None]) -> Markup:
    out = io.StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, of_page in _OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    svg = re.sub(r'font-family: [^;"]*', "font-family: inherit", svg)
    # HTML needs no names of spaces; what describes the file is of no use in a page.
    svg = re.sub(r'<(metadata|style)\b.*?</\1>| xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)  # ids are unique in a page
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{description}" class="figure" ', 1))
