"""The labels that a classifier and a set have in common."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from liser_ray.corpora.labels import meaning
from liser_ray.runtime.errors import UserError


class CommonLabels(NamedTuple):
    """The labels that a classifier and a set have in common.

    Attributes:
        names: as the set calls them, k of them.
        of_set: where they stand among the set's, int64 [k].
        of_classifier: where they stand among the classifier's, int64 [k].
        pairs: those that are called differently, ``classifier=set``.
        only_set, only_classifier: labels that the other side lacks.
    """

    names: tuple[str, ...]
    of_set: np.ndarray
    of_classifier: np.ndarray
    pairs: tuple[str, ...]
    only_set: tuple[str, ...]
    only_classifier: tuple[str, ...]


def common_labels(classifier: Sequence[str], labeled: Sequence[str], given: Sequence[str] = ()) -> CommonLabels:
    """Match labels: as ``given``, ``classifier's=set's`` each; of the rest the same or usual names of an emotion.

    Raises:
        UserError: fewer than two are common, two of the rest of one side mean the same, or a given pair names what is
            not there, or what another one names too.
    """
    said: dict[str, str] = {}
    for pair in given:
        of_classifier, _, of_set = pair.partition("=")
        if of_classifier not in classifier or of_set not in labeled:
            raise UserError(
                f"--label_map {pair}: give CLASSIFIER=SET with labels of both. The classifier has "
                f"{', '.join(classifier)}; the set has {', '.join(labeled)}."
            )
        if of_classifier in said or of_set in said.values():
            raise UserError(f"--label_map {pair}: another pair has one of them too. Give each label one partner.")
        said[of_classifier] = of_set
    place = {meaning(name): k for k, name in enumerate(labeled) if name not in said.values()}
    pairs = {k: place.get(meaning(name)) for k, name in enumerate(classifier) if name not in said}
    known = {one: other for one, other in pairs.items() if other is not None}
    if len(place) + len(said) < len(labeled) or len(set(known.values())) < len(known):
        raise UserError(
            f"Two labels of one side mean the same: the classifier has {', '.join(classifier)}, the set has "
            f"{', '.join(labeled)}. Say which is which with --label_map CLASSIFIER=SET."
        )
    known |= {classifier.index(one): labeled.index(other) for one, other in said.items()}
    if len(known) < 2:
        raise UserError(
            f"The classifier ({', '.join(classifier)}) and the set ({', '.join(labeled)}) have fewer than two labels "
            "in common. Say which mean the same with --label_map CLASSIFIER=SET."
        )
    in_order = sorted(known, key=lambda ours: known[ours])
    ours, theirs = np.array(in_order), np.array([known[k] for k in in_order])
    return CommonLabels(
        names=tuple(labeled[k] for k in theirs),
        of_set=theirs,
        of_classifier=ours,
        pairs=tuple(f"{classifier[a]}={labeled[b]}" for a, b in known.items() if classifier[a] != labeled[b]),
        only_set=tuple(name for k, name in enumerate(labeled) if k not in theirs),
        only_classifier=tuple(name for k, name in enumerate(classifier) if k not in ours),
    )
