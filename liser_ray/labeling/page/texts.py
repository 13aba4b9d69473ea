"""Numbers as people read them; a dash where one is not known."""

import math

from liser_ray.runtime.display import clock

_NOT_KNOWN = "–"


def clock_text(seconds: float) -> str:
    """``0:07`` or ``3:25:07``."""
    return _NOT_KNOWN if math.isnan(seconds) else clock(seconds)


def hours_text(seconds: float, of_s: float | None = None) -> str:
    """A length of video with its unit, the one that suits a whole of ``of_s`` seconds."""
    whole_s = seconds if of_s is None else of_s
    if whole_s < 60:
        return f"{seconds:.0f} s"
    if whole_s < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"


def share_text(share: float) -> str:
    """A share as whole percent, but nothing becomes none or all of it by rounding."""
    if math.isnan(share):
        return _NOT_KNOWN
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def number_text(value: float, digits: int = 2) -> str:
    """A number with thousands set off; digits are of a float."""
    if isinstance(value, int):
        return f"{value:,}"
    return _NOT_KNOWN if math.isnan(value) else f"{value:,.{digits}f}"
