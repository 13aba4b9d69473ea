"""Names of a teacher's outputs: whoever says what they are must say the same."""

from collections.abc import Sequence

from liser_ray.runtime.errors import UserError


def agreed_labels(given: Sequence[str], carried: Sequence[str], n_outputs: int, source: str) -> tuple[str, ...]:
    """The labels of a network with ``n_outputs`` outputs, in lower case and in the order of the outputs.

    Args:
        given: by the user; empty: not given.
        carried: by the weights file; empty: it has none.
        n_outputs: of the network.
        source: names the weights in errors.

    Raises:
        UserError: if given and carried labels differ, a name comes twice, there are none, or not as many as outputs.
    """
    by_user, by_file = tuple(map(str.lower, given)), tuple(map(str.lower, carried))
    if by_user and by_file and by_user != by_file:
        raise UserError(f"{source} has the labels {', '.join(by_file)}, but you gave {', '.join(by_user)}.")
    labels = by_user or by_file
    if not labels:
        raise UserError(f"{source} has {n_outputs} outputs and no names for them: give their labels, in order.")
    if len(labels) != n_outputs:
        raise UserError(f"{source} has {n_outputs} outputs, but there are {len(labels)} labels: {', '.join(labels)}.")
    if len(set(labels)) != len(labels):
        raise UserError(f"{source}: a label comes twice in {', '.join(labels)}.")
    return labels
