"""Histograms as SVG to stand in a page: their colours are the page's, so they follow its light or dark scheme.

Text that comes from a corpus never enters a figure: Matplotlib would take dollar signs in it for formulas.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from liser_ray.labeling.page.statistics import Histogram
from liser_ray.results.style import prepare

# Colours that nothing else has, each to be replaced by one of the page.
_TEXT, _GRID, _FILL, _MARK = "#010101", "#020202", "#030303", "#040404"
_OF_PAGE = {_TEXT: "var(--muted)", _GRID: "var(--line)", _FILL: "var(--blue)", _MARK: "var(--orange)"}
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
    """Shares of the values in each bin, with the median; without ticks or a mark from the first value to the last.

    Args:
        name: of the figure, different from all others of the page; letters, digits and dashes.
        histogram: to show, of a quantity with its unit.
        quantity: below the axis.
        unit: what was counted, in the plural.
        ticks: of the horizontal axis, which may be ``log``, if not Matplotlib's, and what they say.
        no_opinion: a value to mark as that of a teacher without one.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(3.4, 1.9), layout="constrained")
        FigureCanvasSVG(figure)
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
        values = np.flatnonzero(histogram.counts)
        shown = histogram.edges if ticks or no_opinion else histogram.edges[values[0] : values[-1] + 2]
        axes.set_xlim(shown[0], shown[-1])
        axes.set(xlabel=quantity, ylabel=f"% of {unit}")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.1)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, of_page in _OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    svg = re.sub(r'font-family: [^;"]*', "font-family: inherit", svg)
    # HTML needs no names of spaces; what describes the file is of no use in a page.
    svg = re.sub(r'<(metadata|style)\b.*?</\1>| xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)  # ids are unique in a page
    description = f"{quantity}, {histogram.n:,} {unit}"
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{description}" class="figure" ', 1))
