"""Many things under way at once, taken up in the order they came."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    submit: Callable[[Item], "Future[Result]"], items: Iterable[Item], in_flight: int
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """Each item with its future, in the items' order, with at most `in_flight` of them submitted and not yet taken.

    A slow item holds up those behind it only when `in_flight` of them are done and waiting, so that number should be
    large against the workers; it bounds the memory.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        waiting.append((item, submit(item)))
        while waiting and (len(waiting) >= in_flight or waiting[0][1].done()):
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
