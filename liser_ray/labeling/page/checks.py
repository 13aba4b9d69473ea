"""What looks wrong in a table of labels, in plain words. The thresholds are rules of thumb: reasons to look closer."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from liser_ray.labeling.page.agreement import Agreement
from liser_ray.labeling.page.statistics import TableStatistics, TeacherCounts
from liser_ray.media.outcome import Status

FEWEST_SPANS = 30
"""Labeled spans below which nothing is said about teachers."""

_FAILED_SHARE = 0.2  # of the hours (or spans) that are done: worth a look before the rest is run
_FILTERED_SHARE = 0.5  # of the hours that are done: the wrong kind of video, or a wrong setting
_ONE_LABEL_SHARE = 0.9  # of a teacher's labels: it does not listen, or does not suit the corpus
_UNSURE = 0.1  # of the way from uniform to certain: a median confidence below it teaches a student nothing
_CHANCE_KAPPA = 0.05  # Cohen's kappa below which two teachers agree no more than by chance


def find_warnings(
    statistics: TableStatistics, titles: Mapping[str, str], agreements: Mapping[str, Agreement]
) -> list[str]:
    """One or two sentences for each thing that looks wrong in a table.

    Args:
        statistics: of the table.
        titles: what each teacher is called, such as "speech teacher fold-0"; agreements are of the first with another.
    """
    warnings = [*_about_spans(statistics)]
    first = next(iter(titles.values()))
    for name, teacher in statistics.teachers.items():
        warnings += _about_teacher(f"The {titles[name]}", teacher)
        if name in agreements:
            warnings += _about_agreement(f"The {first} and the {titles[name]}", agreements[name])
    return warnings


def share_text(share: float) -> str:
    """A share as whole percent, but nothing becomes none or all of it by rounding."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _about_spans(statistics: TableStatistics) -> Iterator[str]:
    spans, seconds = statistics.spans, statistics.seconds
    if not spans:
        return
    labeled, filtered, failed = (statistics.of_status(status) for status in Status)
    if not labeled.spans:
        yield "No span is labeled. The reasons are below."
    failed_share = failed.seconds / seconds if seconds else 0.0
    if max(failed_share, failed.spans / spans) > _FAILED_SHARE:
        yield (
            f"{share_text(failed_share)} of the hours and {share_text(failed.spans / spans)} of the spans failed, "
            f"most often as {_main_reason(statistics, Status.FAILED)}. Examples are below."
        )
    if seconds and filtered.seconds / seconds > _FILTERED_SHARE:
        yield (
            f"{share_text(filtered.seconds / seconds)} of the hours are of no use, most often as "
            f"{_main_reason(statistics, Status.FILTERED)}. Are these videos of one person who talks to the camera?"
        )


def _about_teacher(who: str, teacher: TeacherCounts) -> Iterator[str]:
    n_spans = int(teacher.spans.sum())
    if n_spans < FEWEST_SPANS:
        return
    most = int(teacher.spans.argmax())
    share = teacher.spans[most] / n_spans
    if share > _ONE_LABEL_SHARE:
        yield (
            f"{who} says {teacher.labels[most]} to {share_text(share)} of the spans. A student learns little else from "
            "it: are its weights the right ones, and does it suit these videos?"
        )
    uniform, median = 1 / len(teacher.labels), teacher.confidence.median
    if len(teacher.labels) > 1 and median < uniform + _UNSURE * (1 - uniform):
        yield (
            f"{who} is hardly ever sure: its median confidence is {median:.2f}, and {uniform:.2f} would be no opinion "
            "at all. Are its weights the right ones?"
        )


def _about_agreement(who: str, agreement: Agreement) -> Iterator[str]:
    if agreement.n_spans >= FEWEST_SPANS and not agreement.kappa >= _CHANCE_KAPPA:
        yield (
            f"{who} agree on {share_text(agreement.share)} of the spans, and chance alone would give "
            f"{share_text(agreement.chance)}: one of them, or both, cannot tell these emotions apart."
        )


def _main_reason(statistics: TableStatistics, status: Status) -> str:
    spans = Counter[str]()
    for outcome, count in statistics.outcomes.items():
        spans[outcome.reason] += count.spans if outcome.status == status else 0
    return spans.most_common(1)[0][0]
