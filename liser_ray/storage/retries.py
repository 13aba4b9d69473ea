"""Patience with a busy store and a bad network: what they break is done again."""

import itertools
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")

BROKE_OFF = "The store broke off"

TRANSIENT_ERRORS = (
    r"AWS Error (INTERNAL_FAILURE|NETWORK_CONNECTION|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING|REQUEST_TIMEOUT|"
    rf"NO_SUCH_UPLOAD|UNKNOWN \(HTTP status (429|5\d\d)\))|{BROKE_OFF}"
)
"""Regular expression for the texts of errors that may pass. NO_SUCH_UPLOAD: a completed one whose answer was lost."""

PATIENCE_S = 120.0
READ_PATIENCE_S = 30.0
"""Of a part of a recording: with the longest that one more try may take it is less than a span's time limit."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 16.0


def retried(operation: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Do it, and again with growing random waits while it fails with one of `TRANSIENT_ERRORS`; raise the last one.

    It must be one that may be done twice. After so many seconds it is not begun again.
    """
    give_up = time.monotonic() + patience_s
    for attempt in itertools.count():
        try:
            return operation()
        except OSError as error:
            if not re.search(TRANSIENT_ERRORS, str(error)) or time.monotonic() > give_up:
                raise
        time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)))
    raise AssertionError


def read_exactly(file: pa.NativeFile, start: int, n_bytes: int) -> bytes:
    """A range of an open file; an OSError if fewer bytes come."""
    data = bytes(file.read_at(n_bytes, start))
    if len(data) < n_bytes:  # to pyarrow an answer that breaks off in its head is no error
        raise OSError(f"{BROKE_OFF} after {len(data)} of {n_bytes} bytes")
    return data
