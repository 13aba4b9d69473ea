"""Several labeled sets as one: whose labels are the same, and whose speakers are others whatever they are called."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.labels import meaning
from liser_ray.corpora.utterance import LabeledSet, Part
from liser_ray.results.set_names import JOINT
from liser_ray.runtime.errors import UserError

log = logging.getLogger(__name__)


def read_labeled_sets(
    specs: str | Sequence[str], label_map: Sequence[str] = (), attributes: Sequence[str] = ()
) -> LabeledSet:
    """The set at one address, as `read_labeled_set` has it with these attributes, or those at several as one (`join`).

    Raises:
        UserError: as for both; or there is a label map and one set alone.
    """
    sets = [read_labeled_set(spec, attributes=attributes) for spec in ([specs] if isinstance(specs, str) else specs)]
    if len(sets) > 1:
        return join(sets, label_map)
    if label_map:
        raise UserError("--label_map says which labels of several sets mean the same: give it with more --labeled.")
    return sets[0]


def join(sets: Sequence[LabeledSet], label_map: Sequence[str] = ()) -> LabeledSet:
    """One set of all recordings. Speakers of other sets are others: "ravdess/2" in "ravdess+cremad".

    Labels are those of the first set, then what the others add. Two are one if they have the same name, are usual
    names of one emotion (`liser_ray.corpora.labels`), or as the label map has it, ``ONE=OTHER`` each.

    Raises:
        UserError: two sets have the same name, or one has a "+" in it, or no labels; two labels of a set mean the same;
            or a pair of the map names a label that no set has.
    """
    names = [one.name for one in sets]
    if len(set(names)) < len(names) or any(JOINT in name for name in names):
        raise UserError(
            f"The labeled sets are called {', '.join(names)}: give each once, and manifests file names that differ and "
            f"have no {JOINT}, since speakers and scores are named after them."
        )
    if unlabeled := next((one.name for one in sets if len(one.labels) < 2), ""):
        raise UserError(f"{unlabeled} has no labels, of attributes alone: train on it by itself, or give it a label.")
    called = _same_labels(sets, label_map)
    labels = tuple(dict.fromkeys(label for of_set in called for label in of_set))
    utterances, joined = [], []
    for one, of_set in zip(sets, called, strict=True):
        part = Part(one.name, one.labels, tuple(map(labels.index, of_set)), f"{one.name}/")
        as_joined = dict(zip(one.labels, of_set, strict=True))
        joined.append((one, part))
        utterances += [
            replace(
                each,
                label=as_joined[each.label],
                speaker=part.prefix + each.speaker,
                votes=tuple((as_joined[label], n) for label, n in each.votes),
            )
            for each in one.utterances
        ]
        others = [f"{own}={label}" for own, label in as_joined.items() if own != label]
        missing = [label for label in labels if label not in of_set]
        without = f"; without {', '.join(missing)}" if missing else ""
        log.info("%s: %s%s", one.name, ", ".join(others) or "labels as they are", without)
    skipped = sum((Counter(one.skipped) for one in sets), Counter[str]())
    return LabeledSet(JOINT.join(names), labels, tuple(utterances), dict(skipped), tuple(joined))


def _same_labels(sets: Sequence[LabeledSet], label_map: Sequence[str]) -> list[list[str]]:
    """What the labels of each set are called in all of them together."""
    said, every = {}, {label for one in sets for label in one.labels}
    for pair in label_map:
        one, _, other = pair.partition("=")
        if not {one, other} <= every:
            raise UserError(f"--label_map {pair}: give ONE=OTHER of the sets' labels: {', '.join(sorted(every))}.")
        said[one] = other
    names: dict[str, str] = {}  # by what they mean
    found = []
    for labeled in sets:
        meanings = [meaning(said.get(label, label)) for label in labeled.labels]
        if len(set(meanings)) < len(meanings):
            raise UserError(
                f"Two labels of {labeled.name} mean the same: {', '.join(labeled.labels)}. Make them one there, or "
                "say which label of another set is which with --label_map ONE=OTHER."
            )
        for means, label in zip(meanings, labeled.labels, strict=True):
            names.setdefault(means, label)
        found.append([names[means] for means in meanings])
    return found
