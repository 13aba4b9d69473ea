"""Who computes the descriptors. A network is asked with those that it was trained with."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from liser_ray.teachers.prosody.descriptors import describe
from liser_ray.teachers.prosody.opensmile import describe_by_opensmile

Source = Literal["torch", "opensmile"]

SOURCES: dict[Source, Callable[[Tensor], Tensor]] = {"torch": describe, "opensmile": describe_by_opensmile}
"""Sound float32 [n], 16 kHz, -1..1, to descriptors float32 [25, T], by the name of who does it."""
