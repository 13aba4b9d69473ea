"""One look for all pictures, outside of pyplot, which keeps figures alive and wants the main thread.

The colours are Okabe and Ito's, which colour-blind readers can tell apart; markers and lines say the same once more.
"""

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
GREY, GRID = "#767676", "#E5E5E5"
COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", ORANGE, "#56B4E9", "#000000", GREY)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
_DPI = 150
_DARK = 0.55  # share of the colour scale from which on text is white


def make_figure(width_in: float, height_in: float, rows: int = 1, columns: int = 1, **options: Any) -> Any:  # noqa: ANN401
    """A figure and its axes, as of `Figure.subplots`, which takes the options."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for one in np.ravel(axes):
        prepare(one)
    return figure, axes


def prepare(axes: Axes, grid: str = GRID, across: Literal["x", "y", "both"] = "both") -> None:
    """No frame but the two axes, with a grid of this colour, from the ticks of these axes, behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=across, color=grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.title.set_fontsize(11)


def put_legend_beside(axes: Axes) -> None:
    """The legend at the right of the axes, where it covers nothing."""
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def draw_matrix(
    axes: Axes,
    values: np.ndarray,
    texts: Sequence[Sequence[str]],
    limits: tuple[float, float],
    names: tuple[Sequence[str], Sequence[str]],
    colour_bar: str = "",
) -> None:
    """Cells of float [rows, columns] from white to blue, NaN white, each with a text; names of rows and of columns."""
    low, high = limits
    image = axes.imshow(values, cmap="Blues", aspect="auto", vmin=low, vmax=high)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        colour = GREY if np.isnan(value) else "white" if (value - low) / (high - low) > _DARK else "black"
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(names[0])), names[0])
    axes.set_xticks(range(len(names[1])), names[1])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label=colour_bar)


def to_png(figure: Figure) -> bytes:
    """The bytes of a PNG; equal plots are equal bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})  # without the software's version
    return out.getvalue()
