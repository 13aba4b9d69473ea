"""What looks wrong in a table of labels, in plain words. The thresholds are rules of thumb: reasons to look closer."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from liser_ray.labeling.page.agreement import Agreement
from liser_ray.labeling.page.statistics import TableStatistics, TargetCounts
from liser_ray.media.outcome import Status

FEWEST_SPANS = 30
"""Labeled spans (of a scalar: windows) below which nothing is said about teachers."""

_FAILED_SHARE = 0.2  # of the hours (or spans) that are done: worth a look before the rest is run
_FILTERED_SHARE = 0.5  # of the hours that are done: the wrong kind of recording, or a wrong setting
_ONE_ANSWER_SHARE = 0.9  # of what a teacher says: it does not listen, or does not suit the corpus
_UNSURE = 0.1  # of the way from uniform to certain: a median confidence below it teaches a student nothing
_CHANCE_KAPPA = 0.05  # Cohen's kappa below which two targets agree no more than by chance


def find_warnings(statistics: TableStatistics, agreements: Mapping[tuple[str, str], Agreement]) -> Iterator[str]:
    """One or two sentences for each thing that looks wrong in a table; agreements are by the targets' names."""
    yield from _about_spans(statistics)
    n_labeled = statistics.total(Status.LABELED).spans
    for one in statistics.targets.values():
        said = one.values.n if one.target.kind == "scalar" else one.spans.sum()
        if n_labeled >= FEWEST_SPANS and not said:
            yield (
                f"{one.target.name} says nothing of any of the {n_labeled:,} labeled spans: the column detail of the "
                "table says why."
            )
        else:
            yield from _about_scalar(one) if one.target.kind == "scalar" else _about_distribution(one)
    for (name, other), found in agreements.items():  # of who gives one answer alone there is no kappa
        if found.n_spans >= FEWEST_SPANS and found.kappa < _CHANCE_KAPPA:
            yield (
                f"{name} and {other} agree on {share_text(found.share)} of the spans, and chance alone would give "
                f"{share_text(found.chance)}: one of them, or both, cannot tell these labels apart."
            )


def share_text(share: float) -> str:
    """A share as whole percent, but nothing becomes none or all of it by rounding."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _about_spans(statistics: TableStatistics) -> Iterator[str]:
    done, (labeled, filtered, failed) = statistics.total(), map(statistics.total, Status)
    if not done.spans:
        return
    if not labeled.spans:
        yield "No span is labeled. The reasons are below."
    failed_share = failed.seconds / done.seconds if done.seconds else 0.0
    if max(failed_share, failed.spans / done.spans) > _FAILED_SHARE:
        yield (
            f"{share_text(failed_share)} of the hours and {share_text(failed.spans / done.spans)} of the spans failed, "
            f"most often as {_main_reason(statistics, Status.FAILED)}. Examples are below."
        )
    if done.seconds and filtered.seconds / done.seconds > _FILTERED_SHARE:
        yield (
            f"{share_text(filtered.seconds / done.seconds)} of the hours are of no use, most often as "
            f"{_main_reason(statistics, Status.FILTERED)}. Are these recordings of one person who talks?"
        )


def _about_distribution(counts: TargetCounts) -> Iterator[str]:
    name, labels, n_spans = counts.target.name, counts.target.labels, int(counts.spans.sum())
    if n_spans < FEWEST_SPANS:
        return
    most = int(counts.spans.argmax())
    if (share := counts.spans[most] / n_spans) > _ONE_ANSWER_SHARE:
        yield (
            f"{name} says {labels[most]} to {share_text(share)} of the spans. A student learns little else from it: "
            "are its teacher's weights the right ones, and does it suit these recordings?"
        )
    uniform, median = counts.no_opinion, counts.confidence.median
    if len(labels) > 1 and median < uniform + _UNSURE * (1 - uniform):
        yield (
            f"{name} is hardly ever sure: its median confidence is {median:.2f}, and {uniform:.2f} would be no opinion "
            "at all. Are its teacher's weights the right ones?"
        )


def _about_scalar(counts: TargetCounts) -> Iterator[str]:
    values = counts.values
    share = max(values.middle().counts.max(), values.coarse_counts.max()) / max(1, values.n)
    if counts.values.n >= FEWEST_SPANS and share > _ONE_ANSWER_SHARE:
        yield (
            f"{counts.target.name} is about {counts.values.median:.3g} in {share_text(share)} of the windows: a "
            "student learns little from it."
        )


def _main_reason(statistics: TableStatistics, status: Status) -> str:
    spans = Counter[str]()
    for outcome, count in statistics.outcomes.items():
        spans[outcome.reason] += count.spans if outcome.status == status else 0
    return spans.most_common(1)[0][0]
