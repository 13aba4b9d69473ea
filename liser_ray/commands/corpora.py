"""``liser-ray corpora``: which labeled set lies in a folder, and what is in it."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from liser_ray.runtime.display import Counting, clock
from liser_ray.runtime.errors import UserError

if TYPE_CHECKING:  # PyArrow, which those who only predict may not have
    from liser_ray.corpora.utterance import LabeledSet

DESCRIPTION = """\
Say which labeled set lies in a folder, and what was found: recordings, speakers, labels, hours, what is passed over.

  liser-ray corpora data/
  liser-ray corpora s3://lab/CREMA-D

What it prints first is how the jobs want the set named, as --labeled.
"""

_AT_ONCE = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", metavar="FOLDER", help="in which a set lies as it was published, or s3://…")


def run(options: argparse.Namespace) -> int:
    """Print what was found; `UserError` if there is no set that is known."""
    from liser_ray.corpora.labeled import CORPORA

    found = known_sets(options.folder)
    if not found:
        raise UserError(
            f"{options.folder} holds none of {', '.join(CORPORA)} of two labels and two speakers. Of other speech "
            "write a list, a .csv or .parquet file with the columns path, label and speaker."
        )
    for labeled in found:
        _print(f"{labeled.name}:{options.folder}", labeled)
    return 0


def known_sets(folder: str) -> "list[LabeledSet]":
    """The published sets that lie in a folder or prefix; one that has two names comes once.

    Raises:
        UserError: nothing is there.
    """
    from liser_ray.corpora.labeled import CORPORA, read_labeled_set

    found: dict[str, LabeledSet] = {}
    refusals = []
    for name in CORPORA:
        try:
            labeled = read_labeled_set(f"{name}:{folder}")
            found.setdefault(labeled.name, labeled)
        except UserError as refusal:
            refusals.append(refusal)
    if len(refusals) == len(CORPORA) and "nothing there" in str(refusals[0]):
        raise refusals[0]
    return list(found.values())


def _print(spec: str, labeled: "LabeledSet") -> None:
    from liser_ray.corpora.headers import read_headers
    from liser_ray.media.outcome import MediaError

    uris = [one.uri for one in labeled.utterances]
    seconds, unreadable = 0.0, 0
    with Counting("headers read", len(uris)) as counting:
        for start in range(0, len(uris), _AT_ONCE):
            some = uris[start : start + _AT_ONCE]
            for header in read_headers(some):
                if isinstance(header, MediaError) or header.duration_s is None:
                    unreadable += 1
                else:
                    seconds += header.duration_s
            counting.advance(len(some))
    table = Table(show_header=False)
    counts = Counter(one.label for one in labeled.utterances)
    of_sex = Counter(filter(None, {one.speaker: one.sex for one in labeled.utterances}.values()))
    table.add_row("recordings", f"{len(uris):,}, {clock(seconds)}")
    table.add_row("speakers", f"{len(labeled.speakers)}{''.join(f', {sex} {n}' for sex, n in of_sex.items())}")
    table.add_row("labels", ", ".join(f"{label} {counts[label]:,}" for label in labeled.labels))
    table.add_row("words", "known" if any(one.text for one in labeled.utterances) else "not told")
    if unreadable:
        table.add_row("unreadable", f"{unreadable:,}")
    for reason, number in labeled.skipped.items():
        table.add_row("passed over", f"{number:,} {reason}")
    console = Console(highlight=False)
    console.print(f"--labeled {spec}", soft_wrap=True)  # one line, to be copied
    console.print(table)
