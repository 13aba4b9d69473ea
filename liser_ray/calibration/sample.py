"""Which spans are measured: a few, evenly over the recordings of an input, the same ones each time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TypeVar

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.corpora.plan_table import plan_rows
from liser_ray.corpora.probe import probe_all
from liser_ray.corpora.recordings import list_recordings
from liser_ray.runtime.errors import UserError
from liser_ray.storage.roots import roots_of

LISTED_AT_MOST = 20_000
"""Recordings to draw from: of a longer input the first ones, since listing 10 million takes longer than measuring."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class SampledSpan:
    """A span to measure.

    Attributes:
        uri: of its recording.
        start_s, end_s: where it lies in it, in seconds.
    """

    uri: str
    start_s: float
    end_s: float

    @property
    def video_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Sample:
    """What was drawn.

    Attributes:
        spans: in random order, so that the first ones are spread over the input as well.
        recordings: how many recordings they are from.
        unusable: recordings that were drawn and have nothing to label, by reason code.
    """

    spans: tuple[SampledSpan, ...]
    recordings: int
    unusable: dict[str, int]


def draw_sample(config: CalibrateConfig) -> Sample:
    """List the input, read the headers of some recordings, and draw spans from them.

    Raises:
        UserError: the input can't be listed, or none of the recordings drawn has anything to label.
    """
    roots = roots_of(config.input, config.plan.allowed_roots)
    listing = list_recordings(config.input, skip_uri=config.output, roots=roots)
    listed = list(islice(listing.recordings, LISTED_AT_MOST))
    unusable: Counter[str] = Counter()
    by_recording = []
    for probed in probe_all(evenly(listed, config.spans), config.plan, roots):
        spans = []
        for _, uri, _, start_s, end_s, _, _, reason, *_ in plan_rows(probed, config.plan.span_seconds):
            if not reason:
                spans.append(SampledSpan(uri, start_s, end_s))
        if spans:
            by_recording.append(spans)
        else:
            unusable[str(reason)] += 1
    if not by_recording:
        raise UserError(
            f"None of {len(listed)} recordings in {config.input} can be measured: {counted(unusable)}. "
            "`label_corpus.py --dry_run` counts them all; give an --input with videos of people talking."
        )
    drawn = [
        span
        for spans, share in zip(by_recording, shares(list(map(len, by_recording)), config.spans), strict=True)
        for span in evenly(spans, share)
    ]
    Random(0).shuffle(drawn)
    return Sample(tuple(drawn), len(by_recording), dict(unusable))


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """The middles of so many equal parts of a sequence; all items if there are no more."""
    count = min(count, len(items))
    return [items[(2 * part + 1) * len(items) // (2 * count)] for part in range(count)]


def shares(available: Sequence[int], count: int) -> list[int]:
    """How many each gives so that there are ``count`` together, as equal as can be; all if there are fewer."""
    given = [0] * len(available)
    left = min(count, sum(available))
    while left:
        for index, most in enumerate(available):
            if left and given[index] < most:
                given[index] += 1
                left -= 1
    return given


def counted(reasons: Mapping[str, int]) -> str:
    """For example ``no_face 3, timeout 1``."""
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda one: -one[1]))
