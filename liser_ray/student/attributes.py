"""Attributes: what raters say of a recording in numbers, such as arousal, learned beside the labels by concordance."""

from collections.abc import Collection, Mapping

import numpy as np
from torch import Tensor

from liser_ray.runtime.errors import UserError

_TINY = 1e-8  # beside variances of about 1; outputs and values that are all the same have no CCC


def concordance_loss(outputs: Tensor, values: Tensor) -> Tensor:
    """What is lost of an attribute in a mini-batch: n · (1 - CCC), a scalar, of the n items whose value is known.

    CCC = 2 · cov(x, y) / (var x + var y + (mean x - mean y)²), over these items (Lin 1989)

    It is of all of them together, so that the mean over the items is 1 - CCC. It is the same in any unit. Of less than
    two items there is none; the loss is then 0, with gradients of 0.

    Args:
        outputs: of the attribute's head, float [N].
        values: of the recordings, float [N]; NaN: not known.
    """
    known = ~values.isnan()
    x, y = outputs[known], values[known].to(outputs.dtype)
    if len(x) < 2:
        return 0 * outputs.sum()
    from_x, from_y = x - x.mean(), y - y.mean()
    apart = from_x.square().mean() + from_y.square().mean() + (x.mean() - y.mean()).square()
    return len(x) * (1 - 2 * (from_x * from_y).mean() / (apart + _TINY))


def attribute_scales(
    attributes: Mapping[str, np.ndarray], names: Collection[str], train: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of some attributes over the training recordings, by name.

    Args:
        attributes: of N recordings by name, float [N] each; NaN: not known.
        names: of those that are wanted.
        train: int64 [n], recordings that are learned from.

    Raises:
        UserError: there is none of that name, or no two training recordings have different values.
    """
    found = {}
    for name in names:
        values = attributes.get(name, np.zeros(0))
        if not len(values):
            raise UserError(
                f"--loss.attributes.{name}: no recording has one. Give a list with a column {name} of numbers; "
                "published sets have none."
            )
        known = values[train][~np.isnan(values[train])].astype(np.float64)
        if len(np.unique(known)) < 2:
            raise UserError(f"--loss.attributes.{name}: no two training recordings of a fold have different values.")
        found[name] = float(known.mean()), float(known.std())
    return found
