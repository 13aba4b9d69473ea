"""Ports for servers that are told theirs before they start."""

import contextlib
import random
import socket


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens at.

    Below those that the kernel hands out by itself (from 32768): a server may take seconds to bind its own, and another
    process would be given it meanwhile.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:  # all open at once, so that no two are the same
        while len(found) < count:
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", random.SystemRandom().randrange(20_000, 32_000)))
                found.append(one.getsockname()[1])
    return found
