"""What looks wrong in a table of labels, in plain words. The thresholds are rules of thumb: reasons to look closer."""

from collections import Counter
from collections.abc import Iterator, Mapping

from liser_ray.labeling.page.agreement import Agreement
from liser_ray.labeling.page.statistics import TableStatistics, TeacherCounts
from liser_ray.labeling.page.texts import share_text
from liser_ray.media.outcome import Status

FAILED_SHARE = 0.2
"""Of the hours (or spans) that are done: more that failed is worth a look before the rest is run."""

FILTERED_SHARE = 0.5
"""Of the hours that are done: more that is of no use means the wrong kind of video, or a wrong setting."""

ONE_LABEL_SHARE = 0.9
"""Of a teacher's labels: more that are the same say that it does not listen, or does not suit the corpus."""

UNSURE = 0.1
"""Part of the way from uniform (0) to certain (1): a median confidence below it teaches a student nothing."""

CHANCE_KAPPA = 0.05
"""Cohen's kappa below which two teachers agree no more than by chance."""

FEWEST_SPANS = 30
"""Labeled spans below which nothing is said about teachers."""


def find_warnings(statistics: TableStatistics, agreements: Mapping[str, Agreement]) -> list[str]:
    """One or two sentences for each thing that looks wrong.

    Args:
        statistics: of the table.
        agreements: with the video teacher, by the name of the speech teacher.
    """
    warnings = [*_about_spans(statistics)]
    warnings += _about_teacher("The video teacher", statistics.video)
    for name, teacher in statistics.speech.items():
        warnings += _about_teacher(f"The speech teacher {name}", teacher)
        warnings += _about_agreement(name, agreements[name])
    return warnings


def _about_spans(statistics: TableStatistics) -> Iterator[str]:
    spans, seconds = statistics.spans, statistics.seconds
    if not spans:
        return
    labeled, filtered, failed = (statistics.of_status(status) for status in Status)
    if not labeled.spans:
        yield "No span is labeled. The reasons are below."
    failed_share = failed.seconds / seconds if seconds else 0.0
    if max(failed_share, failed.spans / spans) > FAILED_SHARE:
        yield (
            f"{share_text(failed_share)} of the hours and {share_text(failed.spans / spans)} of the spans failed, "
            f"most often as {_main_reason(statistics, Status.FAILED)}. Examples are below."
        )
    if seconds and filtered.seconds / seconds > FILTERED_SHARE:
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
    if share > ONE_LABEL_SHARE:
        yield (
            f"{who} says {teacher.labels[most]} to {share_text(share)} of the spans. A student learns little else from "
            "it: are its weights the right ones, and does it suit these videos?"
        )
    uniform, median = 1 / len(teacher.labels), teacher.confidence.median
    if len(teacher.labels) > 1 and median < uniform + UNSURE * (1 - uniform):
        yield (
            f"{who} is hardly ever sure: its median confidence is {median:.2f}, and {uniform:.2f} would be no opinion "
            "at all. Are its weights the right ones?"
        )


def _about_agreement(name: str, agreement: Agreement) -> Iterator[str]:
    if agreement.n_spans >= FEWEST_SPANS and not agreement.kappa >= CHANCE_KAPPA:
        yield (
            f"The video teacher and the speech teacher {name} agree on {share_text(agreement.share)} of the spans, and "
            f"chance alone would give {share_text(agreement.chance)}: one of them, or both, cannot tell these emotions "
            "apart."
        )


def _main_reason(statistics: TableStatistics, status: Status) -> str:
    spans: Counter[str] = Counter()
    for outcome, count in statistics.outcomes.items():
        if outcome.status == status:
            spans[outcome.reason] += count.spans
    return spans.most_common(1)[0][0]
