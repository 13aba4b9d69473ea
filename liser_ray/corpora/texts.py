"""What is said in the recordings of a labeled set, for those who learn from the words alone."""

import json
import logging
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from liser_ray.corpora.manifest import TEXT
from liser_ray.corpora.speech import LabeledRecordings
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.runtime.errors import UserError

log = logging.getLogger(__name__)

_WITHOUT, _TWICE = "without a text", "listed twice, or with other labels"


@dataclass(frozen=True, eq=False, kw_only=True)
class LabeledTexts(LabeledRecordings):
    """Labeled recordings with what is said in them, and without their sound."""

    texts: tuple[str, ...]  # of each recording

    @property
    def sha256(self) -> str:
        """See there; of the texts."""
        return self._digest(json.dumps(self.texts).encode())


def labeled_texts(labeled: LabeledSet) -> LabeledTexts:
    """The recordings of a set of which it is known what is said, each once; the others are counted as skipped.

    Raises:
        UserError: a label has no such recording, or the words tell little of the labels (`refuse_without_a_word`).
    """
    known = [one for one in labeled.utterances if one.text]
    places: dict[object, list[Utterance]] = {}
    for number, one in enumerate(known):
        places.setdefault((one.uri, one.segment) if one.uri else number, []).append(one)
    spoken = [of[0] for of in places.values() if len({(one.label, one.speaker) for one in of}) == 1]
    skipped = {_WITHOUT: len(labeled.utterances) - len(known), _TWICE: len(known) - len(spoken)}
    if lacking := [label for label in labeled.labels if label not in {one.label for one in spoken}]:
        raise UserError(
            f"{labeled.name}: no recording of the label {', '.join(lacking)} has a text. Give a list with a column "
            f"{TEXT}; label_corpus.py --transcribe writes down what is said."
        )
    found = LabeledTexts(
        name=labeled.name,
        labels=labeled.labels,
        label_index=np.array([labeled.labels.index(one.label) for one in spoken], np.int64),
        speakers=tuple(one.speaker for one in spoken),
        sexes={one.speaker: one.sex for one in spoken if one.sex},
        skipped=dict(Counter(labeled.skipped) + Counter(skipped)),
        texts=tuple(one.text for one in spoken),
    )
    refuse_without_a_word(found)
    log.info("%s: %s texts of %d speakers", found.name, f"{len(found):,}", len(set(found.speakers)))
    return found


def refuse_without_a_word(recordings: LabeledTexts) -> None:
    """Refuse a set in which the same sentences are said with all labels: nothing could be learned from them.

    Such a set is one in which even `uar_by_heart` is nearer to chance than to 1.
    """
    n_labels = len(recordings.labels)
    by_heart, chance = uar_by_heart(recordings), 1 / n_labels
    if by_heart >= (1 + chance) / 2:
        return
    labels_of: dict[str, set[int]] = {}
    for text, label in zip(recordings.texts, recordings.label_index.tolist(), strict=True):
        labels_of.setdefault(_words(text), set()).add(label)
    with_all = sum(len(one) == n_labels for one in labels_of.values())
    raise UserError(
        f"{recordings.name}: its {len(recordings):,} recordings have {len(labels_of):,} different texts, of which "
        f"{with_all:,} are said with all of the {n_labels} labels. The words tell too little: who knew all of it by "
        f"heart would have a UAR of {by_heart:.3f} (chance {chance:.3f}). Tune on a set whose speakers say what they "
        f"feel, such as iemocap:FOLDER, or a list of your own with a column {TEXT}."
    )


def uar_by_heart(recordings: LabeledTexts) -> float:
    """The highest UAR that any rule from a text to a label has on these very recordings, 0..1.

    It is Σ_t max_k n(t, k) / n(k) / K: a rule that gives label k for text t is right in n(t, k) of label k's n(k)
    recordings, and UAR is the mean over the K labels. Case, punctuation and blanks do not count.
    """
    places: dict[str, int] = {}
    text_index = [places.setdefault(_words(one), len(places)) for one in recordings.texts]
    counts = np.zeros((len(places), len(recordings.labels)))
    np.add.at(counts, (np.array(text_index), recordings.label_index), 1)
    return float((counts / counts.sum(axis=0)).max(axis=1).sum() / len(recordings.labels))


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
