"""Names of a teacher's outputs: whoever says what they are must say the same."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.weights import Checkpoint


def agreed_labels(
    n_outputs: int, source: str, carried: Sequence[str], given: Sequence[str] = (), hint: str = "give their labels"
) -> tuple[str, ...]:
    """The labels of a network with ``n_outputs`` outputs, in lower case and in the order of the outputs.

    Args:
        n_outputs: of the network.
        source: names the weights in errors, as ``hint`` says where to name labels.
        carried: by the weights; empty: they have none.
        given: by the user; empty: not given.

    Raises:
        UserError: if given and carried labels differ, a name comes twice, there are none, or not as many as outputs.
    """
    by_user, by_file = tuple(map(str.lower, given)), tuple(map(str.lower, carried))
    if by_user and by_file and by_user != by_file:
        raise UserError(f"{source} has the labels {', '.join(by_file)}, but you gave {', '.join(by_user)}.")
    labels = by_user or by_file
    if not labels:
        raise UserError(f"{source} has {n_outputs} outputs and no names for them: {hint}, in the order of the outputs.")
    if len(labels) != n_outputs:
        raise UserError(
            f"{source} has {n_outputs} outputs, but there are {len(labels)} labels: {', '.join(labels)}. "
            f"Instead, {hint}."
        )
    if len(set(labels)) != len(labels):
        raise UserError(f"{source}: a label comes twice in {', '.join(labels)}. Instead, {hint}.")
    return labels


def labels_of_config(id2label: Mapping[Any, str] | None) -> tuple[str, ...]:
    """Names that a Transformers ``config.json`` has by the outputs' numbers; none if they are its own ``LABEL_0``."""
    names = {int(number): str(name) for number, name in (id2label or {}).items()}
    labels = tuple(names[number] for number in sorted(names))
    named = sorted(names) == list(range(len(names))) and not any(re.fullmatch(r"LABEL_\d+|", name) for name in labels)
    return labels if named else ()


def labels_of_checkpoint(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names that a safetensors file has in its metadata entry "labels", a JSON list; none without."""
    text = checkpoint.metadata.get("labels", "[]")
    try:
        labels = json.loads(text)
    except json.JSONDecodeError:
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError(f'{checkpoint.path}: its metadata entry "labels" is no JSON list of names: {text}')
    return tuple(labels)
