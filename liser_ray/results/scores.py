"""Scores of a recipe over all test speakers, with intervals from a bootstrap over speakers.

A recipe is a list of records, one per seed; its score is the mean over seeds. Recordings of one speaker are alike, so
the bootstrap draws speakers, the same ones for all seeds: on RAVDESS, intervals from drawn recordings are half as wide,
and false.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from liser_ray.results.metrics import f1_scores, recalls
from liser_ray.results.records import SEXES, Record
from liser_ray.runtime.errors import UserError

Metric = Literal["uar", "war", "macro_f1"]

N_DRAWS = 10_000
_PERCENTILES = (2.5, 97.5)
_CHUNK = 1 << 22  # numbers in the largest array of the bootstrap: 32 MiB


@dataclass(frozen=True)
class Interval:
    """A score or a difference of scores with its 95 % interval."""

    value: float
    low: float
    high: float


def _uar(confusion: np.ndarray) -> np.ndarray:
    return np.asarray(np.nanmean(recalls(confusion), axis=-1))


def _war(confusion: np.ndarray) -> np.ndarray:
    return np.asarray(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    return np.asarray(np.nanmean(f1_scores(confusion), axis=-1))


# As in `liser_ray.results.metrics`, for many matrices at once: [..., K, K] to [...].
_SCORES: dict[Metric, Callable[[np.ndarray], np.ndarray]] = {"uar": _uar, "war": _war, "macro_f1": _macro_f1}


def pooled(records: Sequence[Record], metric: Metric) -> float:
    """Score over the recordings of all test speakers together, 0..1; mean over seeds.

    Args:
        records: of one recipe on one set, one per seed.
        metric: "uar", "war" or "macro_f1"; labels that do not occur are left out of its mean.

    Raises:
        UserError: if the records are none, or not of one recipe, one set and the same speakers, each seed once.
    """
    _, counts = _counts(records)
    return float(_SCORES[metric](counts.sum(axis=1)).mean())


def mean_over_folds(records: Sequence[Record], metric: Metric) -> float:
    """Mean over the folds of the score over each fold's test speakers, 0..1; mean over seeds.

    Args and errors: as for `pooled`.
    """
    _counts(records)
    of_seeds = []
    for record in records:
        folds = np.stack([np.sum(list(fold.confusions.values()), axis=0) for fold in record.folds])
        of_seeds.append(_SCORES[metric](folds).mean())
    return float(np.mean(of_seeds))


def label_recalls(records: Sequence[Record]) -> dict[str, float]:
    """Recall of each label over all test speakers, 0..1, NaN for one that does not occur; mean over seeds.

    Args and errors: as for `pooled`.
    """
    _, counts = _counts(records)
    return dict(zip(records[0].labels, recalls(counts.sum(axis=1)).mean(axis=0).tolist(), strict=True))


def speaker_scores(records: Sequence[Record], metric: Metric) -> dict[str, float]:
    """Score of each test speaker, 0..1, in natural order of the speakers; mean over seeds.

    Args and errors: as for `pooled`.
    """
    speakers, counts = _counts(records)
    return dict(zip(speakers, _SCORES[metric](counts).mean(axis=0).tolist(), strict=True))


def interval(records: Sequence[Record], metric: Metric, n_draws: int = N_DRAWS, seed: int = 0) -> Interval:
    """The score of `pooled` with its 95 % interval: percentiles of a bootstrap over speakers.

    In each draw as many speakers as there are are drawn with replacement, the same for all seeds, and their recordings
    pooled; a label that no drawn speaker has said is left out of the draw's UAR.

    Args:
        records, metric: as for `pooled`.
        n_draws: of the bootstrap.
        seed: of the draws.

    Raises:
        UserError: as `pooled`.
    """
    _, counts = _counts(records)
    n_seeds, n_speakers, n_labels, _ = counts.shape
    flat = counts.reshape(n_seeds, n_speakers, -1).astype(np.float64)
    scores = [
        # float64, for the product to be a fast one: exact up to 2^53 recordings
        _SCORES[metric]((drawn @ flat).reshape(n_seeds, len(drawn), n_labels, n_labels)).mean(axis=0)
        for drawn in _draws(n_speakers, n_draws, seed, n_seeds * n_labels**2)
    ]
    low, high = np.percentile(np.concatenate(scores), _PERCENTILES)
    return Interval(pooled(records, metric), float(low), float(high))


def paired_difference(
    a_records: Sequence[Record], b_records: Sequence[Record], metric: Metric, n_draws: int = N_DRAWS, seed: int = 0
) -> Interval:
    """Mean over speakers of each speaker's score with a recipe minus that with another, with its 95 % interval.

    How good a speaker is understood differs more between speakers than between recipes: pairing takes that out. The
    interval holds the percentiles of a bootstrap over speakers.

    Args:
        a_records: of the one recipe, one per seed.
        b_records: of the other recipe on the same set; the seeds may be others.
        metric: of each speaker, as for `pooled`.
        n_draws: of the bootstrap.
        seed: of the draws.

    Raises:
        UserError: if sets, labels or speakers of the two differ, and as `pooled`.
    """
    a, b = speaker_scores(a_records, metric), speaker_scores(b_records, metric)
    _refuse_others(a_records[0], b_records[0])
    differences = np.array([a[speaker] - b[speaker] for speaker in a])
    means = [drawn @ differences / len(a) for drawn in _draws(len(a), n_draws, seed, 1)]
    low, high = np.percentile(np.concatenate(means), _PERCENTILES)
    return Interval(float(differences.mean()), float(low), float(high))


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


def _counts(records: Sequence[Record]) -> tuple[list[str], np.ndarray]:
    """The S speakers in natural order and the counts int64 [seeds, S, K, K], of records that belong together."""
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
    speakers = list(first.confusions)
    if not speakers:
        raise UserError(f"{first} has no test speakers. Run its folds.")
    return speakers, np.stack([np.stack([record.confusions[name] for name in speakers]) for record in records])


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


def _draws(n_speakers: int, n_draws: int, seed: int, n_sums: int) -> Iterator[np.ndarray]:
    """How often each speaker is drawn, float64 [some of the draws, S], in pieces that keep memory bounded.

    Args:
        n_speakers: S, also how many are drawn.
        n_draws: of all pieces together.
        seed: of the draws; they do not depend on the size of the pieces.
        n_sums: numbers that the caller makes of each draw.
    """
    rng = np.random.default_rng(seed)
    piece = max(1, _CHUNK // max(n_speakers, n_sums))
    for start in range(0, n_draws, piece):
        drawn = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=min(piece, n_draws - start))
        yield drawn.astype(np.float64)
