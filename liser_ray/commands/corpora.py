"""``liser-ray corpora``: which labeled set lies in a folder, and what is in it."""

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from rich.table import Table

from liser_ray.results.set_names import person
from liser_ray.runtime.display import Counting, clock, result_console
from liser_ray.runtime.errors import UserError

if TYPE_CHECKING:  # PyArrow, which those who only predict may not have
    from liser_ray.corpora.utterance import LabeledSet, Utterance

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
    from liser_ray.corpora import mspface
    from liser_ray.corpora.labeled import SETS
    from liser_ray.storage.addresses import absolute

    found, faulty = known_sets(options.folder)
    if not found and faulty:
        raise faulty[0]
    if not found and mspface.has_lists(absolute(options.folder)):
        raise UserError(
            f"{options.folder} has the lists of MSP-Face, which can be labeled, but are no set to train on: "
            f"liser-ray label --input {mspface.NAME}:{options.folder} --media_folder VIDEOS"
        )
    if not found:
        raise UserError(
            f"{options.folder} holds none of {', '.join(SETS)}. Of other speech write a list, a .csv or .parquet file "
            "with the columns path, label and speaker."
        )
    for spec, labeled in found.items():
        _print(spec, labeled)
    for refusal in faulty:
        result_console().print(f"Not to be used: {refusal}", soft_wrap=True)
    return 0


def known_sets(folder: str) -> "tuple[dict[str, LabeledSet], list[UserError]]":
    """The published sets that lie in a folder or prefix, by how they are named; and what is wrong with others there.

    Of those that have two names the first counts.

    Raises:
        UserError: nothing is there.
    """
    from liser_ray.corpora.labeled import SETS, read_labeled_set
    from liser_ray.corpora.published import OtherSetError, files_below
    from liser_ray.storage.addresses import absolute

    files_below(absolute(folder))
    found: dict[str, LabeledSet] = {}
    faulty = []
    for name in SETS:
        try:
            labeled = read_labeled_set(f"{name}:{folder}")
        except OtherSetError:
            continue
        except UserError as refusal:
            faulty.append(refusal)
            continue
        if labeled.name not in {one.name for one in found.values()}:
            found[f"{name}:{folder}"] = labeled
    return found, faulty


def _print(spec: str, labeled: "LabeledSet") -> None:
    from liser_ray.corpora.utterance import Split

    seconds, unreadable = _lengths(labeled.utterances)
    table = Table(show_header=False)
    counts = Counter(one.label for one in labeled.utterances)
    people = {person(one.speaker): one.sex for one in sorted(labeled.utterances, key=lambda one: bool(one.sex))}
    of_sex = Counter(filter(None, people.values()))
    divided = len({person(speaker) for speaker in labeled.speakers if speaker != person(speaker)})
    table.add_row("recordings", f"{len(labeled.utterances):,}, {clock(seconds)}")
    table.add_row("speakers", f"{len(people)}{''.join(f', {sex} {n}' for sex, n in of_sex.items())}")
    if divided:
        table.add_row("in several parts", f"{divided} of these speakers, trained and tested on as it is divided")
    table.add_row("labels", ", ".join(f"{label} {counts[label]:,}" for label in labeled.labels))
    table.add_row("words", "known" if any(one.text for one in labeled.utterances) else "not told")
    if parts := Counter(one.split for one in labeled.utterances if one.split):
        table.add_row("split", ", ".join(f"{part} {parts[part]:,}" for part in get_args(Split) if part in parts))
    if unreadable:
        table.add_row("unreadable", f"{unreadable:,}")
    for reason, number in labeled.skipped.items():
        table.add_row("passed over", f"{number:,} {reason}")
    console = result_console()
    console.print(f"--labeled {shlex.quote(spec)}", soft_wrap=True)  # one line, to be copied
    console.print(table)


def _lengths(utterances: "Sequence[Utterance]") -> tuple[float, int]:
    """How long they are together, in seconds; and of how many that can't be told."""
    from liser_ray.corpora.headers import read_headers
    from liser_ray.media.outcome import MediaError

    seconds, unreadable = 0.0, 0
    with Counting("headers read", len(utterances)) as counting:
        for first in range(0, len(utterances), _AT_ONCE):
            some = utterances[first : first + _AT_ONCE]
            for one, header in zip(some, read_headers([one.uri for one in some]), strict=True):
                try:
                    if isinstance(header, MediaError) or header.duration_s is None:
                        unreadable += 1
                    else:
                        start_s, end_s = one.segment.within(header.duration_s)
                        seconds += end_s - start_s
                except MediaError:  # the segment is none of its file
                    unreadable += 1
            counting.advance(len(some))
    return seconds, unreadable
