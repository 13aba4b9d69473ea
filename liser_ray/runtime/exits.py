"""How a process ends: exit codes, and errors in the user's words."""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from liser_ray.runtime.errors import UserError
from liser_ray.runtime.redaction import RedactingFormatter, redact


def run(
    main: Callable[[Sequence[str] | None], None],
    argv: Sequence[str] | None = None,
    interrupted: str = "Interrupted. The same command goes on where it was.",
) -> None:
    """Run a job's main function and end the process with what came of it, unless all went well.

    Log lines, messages and tracebacks go to standard error, without credentials. Exit codes: 2 for a `UserError`, which
    is one message; 130 for Ctrl-C and 143 for SIGTERM (``ray job stop``, a machine that goes away), after which the
    same command goes on; 141 where nobody reads on (``| head``); 1 for anything unforeseen, with a traceback.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        main(argv)
    except UserError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, _Terminated) as error:
        print(interrupted, file=sys.stderr, flush=True)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 143)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        sys.exit(141)
    except Exception:
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)


class _Terminated(BaseException):
    """SIGTERM, as an exception so that files and displays are closed."""


def _terminated(*_: object) -> None:
    raise _Terminated
