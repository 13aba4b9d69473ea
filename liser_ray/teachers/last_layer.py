"""The vector behind a classifier's answer: what its last layer reads of each piece of sound."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from liser_ray.runtime.errors import UserError


class LastLayer:
    """The layer whose output is a classifier's logits, found by asking it once, whatever it is called.

    Args:
        network: ``network(**inputs).logits`` is [N, K].
        inputs: any that it takes.
        name: of the classifier in errors.

    Attributes:
        size: D of what the layer reads, [N, D].

    Raises:
        UserError: no layer gives the logits, or it doesn't read one vector of each piece.
    """

    size: int

    def __init__(self, network: nn.Module, inputs: Mapping[str, Tensor], name: str):
        calls: list[tuple[Any, ...]] = []
        hooks = [
            module.register_forward_hook(lambda *call: calls.append(call))
            for module in network.modules()
            if module is not network
        ]
        logits = network(**inputs).logits
        for hook in hooks:
            hook.remove()
        # What wraps the layer gives the same tensor, but later.
        found = next(((module, given[0]) for module, given, output in calls if output is logits and given), None)
        if found is None or found[1].ndim != 2:
            raise UserError(
                f"{name}: its logits do not come from a layer that reads one vector for each window, so there is no "
                "embedding to store. Leave embedding out for it."
            )
        layer, read = found
        self.size = int(read.shape[1])
        self._read: Tensor | None = None
        layer.register_forward_pre_hook(self._remember)

    def _remember(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._read = given[0]

    def take(self) -> Tensor:
        """What the layer has read in the network's latest call, float [N, D]; it is let go of."""
        assert self._read is not None
        read, self._read = self._read, None
        return read
