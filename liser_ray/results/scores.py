r"""Scores of a recipe over all test speakers, and differences of two recipes, with 95 % intervals.

A recipe is a list of records, one per seed; its score is the mean over seeds. Its interval says what other speakers and
other seeds would have given, so both are drawn, each for itself and crossed: in a draw, a speaker who is drawn brings
what every drawn seed said of them. This is the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1(2)) for
values x of speaker i and seed j with x = m + a(i) + b(j) + e(i, j); it is right for a and b and somewhat wide for e.
Recordings are not drawn: those of one speaker are alike, and intervals from them would be half as wide, and false.

Of n speakers or seeds, n - 1 are drawn with replacement (McCarthy and Snowden 1985; Rao and Wu 1988, JASA 83), which
gives the variance of a mean without the factor (n - 1) / n: with n of two seeds, half of what seeds do would be lost.

In a difference, speakers are paired: how well a speaker is understood differs more between speakers than between
recipes. Seeds are not: seed 0 of one recipe and seed 0 of another begin with the same number, but draw different
weights and batches with it, so each recipe's seeds are drawn for themselves. With one seed there is nothing to draw:
the interval is over speakers alone, and says so.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from liser_ray.results.metrics import Metric, recalls, scores
from liser_ray.results.records import SEXES, Record
from liser_ray.runtime.errors import UserError

N_DRAWS = 10_000
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A score or a difference of scores with its 95 % interval.

    Attributes:
        value: the score.
        low, high: 2.5th and 97.5th percentile of the draws.
            NaN where there is one speaker, who says nothing of others.
        n_seeds: to draw from, of a difference the fewer of both; with 1 the interval is over speakers alone.
    """

    value: float
    low: float
    high: float
    n_seeds: int = 2

    @property
    def over(self) -> str:
        """What was drawn."""
        if math.isnan(self.low):
            return "speakers, of whom there is one"
        return "speakers and seeds" if self.n_seeds > 1 else "speakers, one seed"


def pooled(records: Sequence[Record], metric: Metric) -> float:
    """Score over the recordings of all test speakers together, 0..1; mean over seeds, a record each.

    Raises:
        UserError: if the records are none, or not of one recipe, one set and the same speakers, each seed once.
    """
    return float(scores(_counts(records).sum(axis=1), metric).mean())


def fold_mean(records: Sequence[Record], metric: Metric) -> float:
    """Score over the test recordings of a fold, 0..1; mean over the folds of all records, a seed each.

    Of few speakers a fold it is another number than `pooled`: a label that a fold's speakers have not said counts
    nothing in it. Errors: as for `pooled`.
    """
    _counts(records)
    confusions = [np.sum([*fold.confusions.values()], axis=0) for record in records for fold in record.folds]
    return float(scores(np.stack(confusions), metric).mean())


def label_recalls(records: Sequence[Record]) -> dict[str, float]:
    """Recall of each label over all test speakers, 0..1, NaN for one that does not occur; mean over seeds.

    Errors: as for `pooled`.
    """
    found = recalls(_counts(records).sum(axis=1)).mean(axis=0)
    return dict(zip(records[0].labels, found.tolist(), strict=True))


def speaker_scores(records: Sequence[Record], metric: Metric) -> dict[str, float]:
    """Score of each test speaker, 0..1, in natural order of the speakers; mean over seeds.

    Errors: as for `pooled`.
    """
    found = scores(_counts(records), metric).mean(axis=0)
    return dict(zip(records[0].confusions, found.tolist(), strict=True))


def interval(records: Sequence[Record], metric: Metric, n_draws: int = N_DRAWS, seed: int = 0) -> Interval:
    """The score of `pooled` with its interval: of each draw's speakers the recordings are pooled.

    A label that no drawn speaker has said is left out of the draw's UAR. Errors: as for `pooled`.
    """
    counts = _counts(records)
    n_seeds, n_speakers, n_labels, _ = counts.shape
    flat = counts.reshape(n_seeds, n_speakers, -1).astype(np.float64)  # their product is a fast one, exact up to 2^53
    rng = np.random.default_rng(seed)
    speakers, seeds = _drawn(rng, n_speakers, n_draws), _drawn(rng, n_seeds, n_draws)
    drawn = scores((speakers @ flat).reshape(n_seeds, n_draws, n_labels, n_labels), metric)
    value = float(scores(counts.sum(axis=1), metric).mean())
    return _interval(value, (seeds.T * drawn).sum(axis=0), n_seeds, n_speakers)


def paired_difference(
    a_records: Sequence[Record], b_records: Sequence[Record], metric: Metric, n_draws: int = N_DRAWS, seed: int = 0
) -> Interval:
    """Mean over speakers of each speaker's score with a recipe minus that with another, with its interval.

    The seeds of the two may be others.

    Raises:
        UserError: if sets, labels or speakers of the two differ, and as `pooled`.
    """
    a, b = (scores(_counts(records), metric) for records in (a_records, b_records))
    _refuse_others(a_records[0], b_records[0])
    rng = np.random.default_rng(seed)
    speakers = _drawn(rng, a.shape[1], n_draws)
    a_drawn, b_drawn = ((_drawn(rng, len(one), n_draws) @ one * speakers).sum(axis=1) for one in (a, b))
    return _interval(
        float((a.mean(axis=0) - b.mean(axis=0)).mean()), a_drawn - b_drawn, min(len(a), len(b)), a.shape[1]
    )


def by_sex(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The same records with the men alone and with the women alone, for any of these scores.

    Speakers whose sex is not known are in neither; a sex without speakers is not there.
    """
    parts = {}
    for sex in SEXES:
        speakers = {speaker for record in records for speaker, its in record.sexes.items() if its == sex}
        part = [of_speakers(record, speakers) for record in records]
        if any(record.folds for record in part):
            parts[sex] = part
    return parts


def of_speakers(record: Record, speakers: Collection[str]) -> Record:
    """The same record with some of its test speakers alone; folds without any are left out."""
    kept = [
        replace(fold, confusions={name: counts for name, counts in fold.confusions.items() if name in speakers})
        for fold in record.folds
    ]
    return replace(record, folds=tuple(fold for fold in kept if fold.confusions))


def _counts(records: Sequence[Record]) -> np.ndarray:
    """Counts int64 [seeds, speakers in natural order, K, K] of records that belong together."""
    if not records:
        raise UserError("There are no records to score. Run the recipe first.")
    first = records[0]
    seeds = [record.seed for record in records]
    if len(set(seeds)) < len(seeds) or {record.recipe for record in records} != {first.recipe}:
        raise UserError(
            f"Scores are of one recipe with each seed once, not of {', '.join(map(str, records))}. Take one recipe."
        )
    for record in records[1:]:
        _refuse_others(record, first)
        if other := [*_other_settings(first.content.get("recipe", {}), record.content.get("recipe", {}))]:
            raise UserError(
                f"{first} and {record} are called alike but were trained in other ways: {'; '.join(other[:5])}. Keep "
                "the records of each in a folder of its own."
            )
    if not first.confusions:
        raise UserError(f"{first} has no test speakers. Run its folds.")
    return np.stack([np.stack(list(record.confusions.values())) for record in records])


def _refuse_others(a: Record, b: Record) -> None:
    """Refuse two records that do not test the same speakers of the same set."""
    if (a.labeled, a.labels) != (b.labeled, b.labels):
        raise UserError(
            f"{a} ({', '.join(a.labels)}) and {b} ({', '.join(b.labels)}) have not the same set and labels. "
            "Compare runs on one set."
        )
    differing = a.confusions.keys() ^ b.confusions.keys()
    if differing:
        some = ", ".join(sorted(differing)[:5])
        raise UserError(
            f"{a} and {b} test different speakers: only one of them tests {some}{' ...' * (len(differing) > 5)}. "
            "Run the folds that are missing."
        )


_OF_TEACHERS = ("base", "lora", "new_model", "descriptors")


def _other_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """In what the loss, network and training of two runs differ, and what teachers begin with, as far as both say."""
    for name in _OF_TEACHERS:
        if name in a and name in b:
            one, other = a[name], b[name]
            if name == "base":  # wherever it lay
                one, other = one["sha256"], other["sha256"]
            if one != other:
                yield f"{name} {one} and {other}"
    for group in ("loss", "network", "train"):
        of_a, of_b = a.get(group) or {}, b.get(group) or {}
        for name in sorted((of_a.keys() & of_b.keys()) - {"seed"}):
            one, other = of_a[name], of_b[name]
            if name == "augment":
                one, other = ({key: of[key] for key in one.keys() & other.keys()} for of in (one, other))
            if one != other:
                yield f"{group}.{name} {one} and {other}"


def _drawn(rng: np.random.Generator, n: int, n_draws: int) -> np.ndarray:
    """Shares of n things in each draw of n - 1 of them, float64 [n_draws, n]; one alone is always drawn."""
    n_drawn = max(1, n - 1)
    return rng.multinomial(n_drawn, np.full(n, 1 / n), size=n_draws) / n_drawn


def _interval(value: float, drawn: np.ndarray, n_seeds: int, n_speakers: int) -> Interval:
    low, high = np.percentile(drawn, _PERCENTILES) if n_speakers > 1 else (math.nan, math.nan)
    return Interval(value, float(low), float(high), n_seeds)
