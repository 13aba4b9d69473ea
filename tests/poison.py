"""A decoder that some recordings are poison to; it must be importable in child processes."""

from typing import Any

import rough_calls

from liser_ray.media.span import SpanMedia, prepare_span

_HARM = {"hang": rough_calls.hang, "segfault": rough_calls.segfault, "bomb": rough_calls.grow, "bug": rough_calls.fail}


def prepare(uri: str, start_s: float, end_s: float, *arguments: Any) -> SpanMedia:
    """`prepare_span`, but what the file's name says happens to whoever opens it."""
    for name, harm in _HARM.items():
        if name in uri:
            harm()
    return prepare_span(uri, start_s, end_s, *arguments)
