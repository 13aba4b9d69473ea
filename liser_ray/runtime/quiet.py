"""What other people's C code says on standard error, and nobody needs to read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def stderr_away() -> Iterator[None]:
    """Context in which standard error, of all threads, goes nowhere: for a moment, and where errors are raised."""
    with Path(os.devnull).open("w") as nowhere, os.fdopen(os.dup(2), "w") as there:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(there.fileno(), 2)
