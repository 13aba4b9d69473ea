"""Settings of the demo."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DemoConfig:
    """Which demo.

    Attributes:
        paper: "liser": videos with faces and voices; "emodistill": speech and what is said in it.
    """

    paper: Literal["liser", "emodistill"] = "liser"
