"""Distributions of millions of values in a few counts."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Histogram:
    """Counts in fixed bins.

    Attributes:
        edges: of the B bins, rising, float64 [B + 1]; a value on an edge is in the bin above it. What lies outside
            counts in the nearest bin.
        counts: int64 [B].
    """

    edges: np.ndarray
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.edges) - 1, np.int64)

    @property
    def n(self) -> int:
        """Values in all bins."""
        return int(self.counts.sum())

    def add(self, values: np.ndarray) -> None:
        """Count these values, float [n]."""
        bins = np.searchsorted(self.edges[1:-1].astype(values.dtype), values, side="right")
        self.counts += np.bincount(bins, minlength=len(self.counts))

    def quantile(self, share: float) -> float:
        """The value that this share of all values is below, as if they lay evenly in each bin; NaN without values."""
        if not self.n:
            return float("nan")
        ends = np.cumsum(self.counts)
        wanted = share * self.n
        found = min(int(np.searchsorted(ends, wanted)), len(ends) - 1)
        found = max(found, int(np.flatnonzero(self.counts)[0]))
        within = (wanted - (ends[found] - self.counts[found])) / max(1, self.counts[found])
        return float(self.edges[found] + within * (self.edges[found + 1] - self.edges[found]))

    @property
    def median(self) -> float:
        """Half of the values are below it; NaN without values."""
        return self.quantile(0.5)
