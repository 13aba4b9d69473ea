"""A line that says how far a long loop is: moving on a terminal, a log line now and then elsewhere."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)

LOG_EVERY_S = 30.0


class Progress:
    """Count up to a total that may become known on the way (set `total`); a context manager."""

    def __init__(self, what: str, total: int | None = None):
        self.what, self.total, self.done = what, total, 0
        self._bar = tqdm(total=total, desc="plan", unit=f" {what}", smoothing=0.05) if sys.stderr.isatty() else None
        self._started = self._logged = time.monotonic()

    @property
    def on_terminal(self) -> bool:
        """Whether somebody is watching."""
        return self._bar is not None

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.update()
        elif time.monotonic() - self._logged > LOG_EVERY_S:
            self._logged = time.monotonic()
            log.info(self.line())

    def line(self) -> str:
        """How far it is, at what rate, and the time left if that can be known."""
        rate = self.done / max(time.monotonic() - self._started, 1e-9)
        text = f"{self.done:,} {self.what}"
        if self.total:
            text = f"{self.done:,} of {self.total:,} {self.what}"
        text += f", {rate:,.0f}/s"
        if self.total and rate:
            text += f", {max(0, self.total - self.done) / rate / 60:.0f} min left"
        return text

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
