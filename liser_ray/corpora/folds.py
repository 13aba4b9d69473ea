"""Cross-validation: which speakers are trained on, validated on and tested on in each fold."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from liser_ray.corpora.labeled import CORPORA
from liser_ray.corpora.utterance import EVERYBODY, LabeledSet
from liser_ray.results.records import sorted_speakers
from liser_ray.runtime.errors import UserError

log = logging.getLogger(__name__)

N_FOLDS = 5
VALIDATION_SHARE = 0.2  # of the speakers that a fold does not test on


@dataclass(frozen=True)
class Fold:
    """Speakers of one fold. A UserError if one is in two parts, or nobody is in `train` or in `test`."""

    index: int  # the number that the paper or the manifest gives the fold; else 0, 1, ...
    train: frozenset[str]
    validation: frozenset[str]  # may be empty where there are few
    test: frozenset[str]

    def __post_init__(self) -> None:
        twice = (self.train & self.validation) | (self.train & self.test) | (self.validation & self.test)
        if twice:
            raise UserError(
                f"Fold {self.index} has speakers in two of train, validation and test: "
                f"{', '.join(sorted_speakers(twice))}. Put each into one part."
            )
        for part, speakers in (("train", self.train), ("test", self.test)):
            if not speakers and (part, self.index) != ("test", EVERYBODY):
                raise UserError(f"Fold {self.index} has no speaker to {part} on. Add recordings of other speakers.")


def folds_of(labeled: LabeledSet, seed: int = 0) -> tuple[Fold, ...]:
    """The folds of a labeled set; each speaker is tested in exactly one of them.

    A set with an official split has that as its only fold, 0, whose test speakers alone are tested.

    Of others a manifest's own folds come first: fold k tests the speakers with fold k. A published corpus (by name and
    speakers) may have fixed folds, of which only the speakers that are there are kept and those are dropped that then
    lack speakers to train or to test on. Any other set is divided into five folds (fewer with few speakers), stratified
    by label. Where validation speakers are not fixed, about 20 % of a fold's other speakers are drawn, at least one of
    three. The seed (0 or more) is of the division and of the drawing; the order of the recordings does not matter.

    A fold of sets that are joined is the fold with this number of each of them. All speakers of a set that has no fold
    of a number train in it, so that with other numbers of folds too each speaker is tested once.

    Raises:
        UserError: if there are not speakers enough for any fold.
    """
    if labeled.joined:
        return _joined_folds(labeled, seed)
    if any(one.split for one in labeled.utterances):
        return (_official_fold(labeled, seed),)
    if any(one.fold is not None for one in labeled.utterances):
        return _manifest_folds(labeled, seed)
    published = CORPORA[labeled.name].folds if labeled.name in CORPORA else ()
    if published and set[str]().union(*(test for test, _ in published)) >= set(labeled.speakers):
        return _published_folds(labeled, published)
    tests = _stratified_tests(labeled, seed)
    return tuple(_with_drawn_validation(labeled, index, test, seed) for index, test in enumerate(tests))


def everybody(folds: Sequence[Fold]) -> Fold:
    """In place of a fold, all speakers, who all train."""
    speakers = frozenset[str]().union(*(fold.train | fold.validation | fold.test for fold in folds))
    return Fold(EVERYBODY, speakers, frozenset(), frozenset())


def choose_folds(wanted: str, folds: Sequence[Fold]) -> list[Fold]:
    """The folds that "all" or numbers such as "0,2" name.

    Raises:
        UserError: no number, or one that the set does not have.
    """
    if wanted.strip() == "all":
        return list(folds)
    by_number = {str(fold.index): fold for fold in folds}
    given = [part.strip() for part in wanted.split(",")]
    if not by_number.keys() >= set(given):
        raise UserError(f"--folds {wanted}: there are the folds {', '.join(by_number)}. Give some of them, or all.")
    return [by_number[number] for number in dict.fromkeys(given)]


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers from "0,1,2", each once.

    Raises:
        UserError: something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"{option} {text}: give whole numbers such as 0,1,2.")
    return [int(part) for part in dict.fromkeys(parts)]


def _joined_folds(labeled: LabeledSet, seed: int) -> tuple[Fold, ...]:
    of_parts = [(part.prefix, folds_of(one, seed)) for one, part in labeled.joined]
    joined = []
    for index in sorted({fold.index for _, folds in of_parts for fold in folds}):
        speakers: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
        for prefix, folds in of_parts:
            fold = next((one for one in folds if one.index == index), everybody(folds))
            for name, found in speakers.items():
                found.update(prefix + speaker for speaker in getattr(fold, name))
        joined.append(Fold(index, **{name: frozenset(found) for name, found in speakers.items()}))
    return tuple(joined)


def _official_fold(labeled: LabeledSet, seed: int) -> Fold:
    parts: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for one in labeled.utterances:
        parts[one.split].add(one.speaker)
    train, validation, test = map(frozenset, parts.values())
    if validation:
        return Fold(0, train, validation, test)
    return _with_drawn_validation(labeled, 0, test, seed)


def _manifest_folds(labeled: LabeledSet, seed: int) -> tuple[Fold, ...]:
    tests: dict[int, set[str]] = {}
    for one in labeled.utterances:
        if one.fold is None:
            raise UserError(f"{labeled.name}: {one.uri} has no fold, others have. Give all recordings one, or none.")
        tests.setdefault(one.fold, set()).add(one.speaker)
    if len(tests) < 2:
        raise UserError(f"{labeled.name}: all recordings are in fold {min(tests)}. Give at least two folds, or none.")
    return tuple(_with_drawn_validation(labeled, index, frozenset(tests[index]), seed) for index in sorted(tests))


def _published_folds(
    labeled: LabeledSet, published: tuple[tuple[frozenset[str], frozenset[str]], ...]
) -> tuple[Fold, ...]:
    present = frozenset(labeled.speakers)
    folds = []
    for index, (test, validation) in enumerate(published):
        train = present - test - validation
        if train and test & present:
            folds.append(Fold(index, train, validation & present, test & present))
        else:
            log.warning("%s: fold %d is left out: nobody to %s on", labeled.name, index, "test" if train else "train")
    if not folds:
        raise UserError(
            f"{labeled.name}: no fold has speakers both to train and to test on; there are only "
            f"{', '.join(labeled.speakers)}. Get the whole corpus, or list what there is in a manifest."
        )
    return tuple(folds)


def _stratified_tests(labeled: LabeledSet, seed: int) -> list[frozenset[str]]:
    # Seconds to import; not for those who train on the published folds.
    from sklearn.model_selection import StratifiedGroupKFold

    n_speakers = len(labeled.speakers)
    if n_speakers < 2:
        raise UserError(f"{labeled.name}: at least two speakers are needed to train and to test.")
    pairs = sorted((one.speaker, one.label) for one in labeled.utterances)
    # Each several times: scikit-learn refuses labels with fewer recordings than folds, and the shares stay as they are.
    groups, labels = (np.repeat(np.array(values), N_FOLDS) for values in zip(*pairs, strict=True))
    n_folds = min(N_FOLDS, n_speakers)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    tests = [frozenset(groups[test].tolist()) for _, test in splitter.split(groups, labels, groups)]
    if not all(tests):  # few speakers whose labels can't be spread: whole speakers count for more than labels
        order = np.random.default_rng(seed).permutation(np.array(labeled.speakers))
        tests = [frozenset(part.tolist()) for part in np.array_split(order, n_folds)]
    return tests


def _with_drawn_validation(labeled: LabeledSet, index: int, test: frozenset[str], seed: int) -> Fold:
    others = [speaker for speaker in labeled.speakers if speaker not in test]
    n_drawn = max(1, round(VALIDATION_SHARE * len(others))) if len(others) >= 3 else 0
    drawn = np.random.default_rng([seed, index]).choice(len(others), n_drawn, replace=False)
    validation = frozenset(others[k] for k in drawn)
    return Fold(index, frozenset(others) - validation, validation, test)
