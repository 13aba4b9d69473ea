"""What teachers say of the labeled recordings: rows of a labels table, brought into each recording's own time."""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from liser_ray.corpora.segments import SEGMENT_COLUMNS, WHOLE, Segment
from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.content_hash import SOUND_HASH, digest
from liser_ray.runtime.errors import UserError
from liser_ray.student.data.labels_table import LabelsTable, has_column, read_groups
from liser_ray.student.data.unlabeled import (
    UNIT_HZ,
    SegmentSettings,
    TargetWindows,
    target_columns,
    target_windows,
)
from liser_ray.teachers.targets import Target

log = logging.getLogger(__name__)

_LONGER_S = 0.1
"""So much later than its sound may a recording end by its header."""


class Matches(NamedTuple):
    """What the labeled rows of a table are of labeled recordings.

    Attributes:
        recording: int64 [R], of which each row is; -1: of none.
        start_s: float64 [R], where it begins there.
    """

    recording: np.ndarray
    start_s: np.ndarray


def match_rows(speech: LabeledSpeech, table: LabelsTable) -> Matches:
    """Which labeled recordings the labeled rows of a table are of.

    A row that holds a whole recording is known by its samples, wherever the files lay when the table was made. Other
    recordings (longer than a span, or with a length of another opinion in their header) are known by their address (and
    where in the file they are, if they are segments), unless a row of it reaches beyond what is there now.
    """
    in_file = SEGMENT_COLUMNS if has_column(table, SEGMENT_COLUMNS[0]) else ()
    rows = _read(table, ["uri", "start_s", "end_s", "content_hash", *in_file])
    of_sound = {digest(speech.waveform(k)): k for k in range(len(speech))}
    by_sound = np.array([of_sound.get(one[SOUND_HASH], -1) for one in rows["content_hash"].to_pylist()], np.int64)
    known = {*by_sound.tolist()}
    places = zip(speech.uris, speech.segments, strict=True)
    of_place = {place: k for k, place in enumerate(places) if k not in known}
    segments = map(Segment, *(rows[one].to_pylist() for one in in_file)) if in_file else [WHOLE] * len(rows)
    of_rows = zip(rows["uri"].to_pylist(), segments, strict=True)
    by_address = np.array([of_place.get(place, -1) for place in of_rows], np.int64)
    lengths_s = np.diff(speech.ends, prepend=0) / SAMPLE_RATE_HZ
    beyond = rows["end_s"].to_numpy() > lengths_s[by_address] + _LONGER_S
    by_address[np.isin(by_address, by_address[beyond])] = -1
    whole = by_sound >= 0
    return Matches(np.where(whole, by_sound, by_address), np.where(whole, 0, rows["start_s"].to_numpy()))


def matched_rows(speech: LabeledSpeech, table: LabelsTable) -> Matches:
    """As `match_rows`; how many recordings have no row is told, and a UserError if none has one."""
    matches = match_rows(speech, table)
    n_told = len(np.unique(matches.recording[matches.recording >= 0]))
    if not n_told:
        raise UserError(
            f"{table.uri} has no row of a recording of {speech.name}: as --distil_labeled give the output of "
            "label_corpus.py with --input as --labeled here."
        )
    log.info("%s: teachers say something of %d recordings, of %d nothing", speech.name, n_told, len(speech) - n_told)
    return matches


def recording_windows(
    table: LabelsTable, matches: Matches, n_recordings: int, targets: Collection[Target], settings: SegmentSettings
) -> dict[str, TargetWindows]:
    """What some targets of a table have of N recordings, by the targets' names; nothing of some is no window.

    Args:
        table: of the targets.
        matches: of its R rows.
        n_recordings: N.
        targets: of the table.
        settings: how windows become a student's targets.
    """
    rows = _read(table, target_columns(targets, settings))
    return {
        target.name: joined_windows(target_windows(rows, target, settings), matches, n_recordings) for target in targets
    }


def joined_windows(of_rows: TargetWindows, matches: Matches, n_recordings: int) -> TargetWindows:
    """The windows of R rows as those of the N recordings that the rows are parts of.

    A recording's windows lie on a grid from its start, on which a row of it begins at the nearest place (its own, where
    spans are whole numbers of windows long). Windows at one place, as those of whole spans, are averaged.

    Args:
        of_rows: windows of the rows.
        matches: of the rows.
        n_recordings: N.
    """
    n_windows = np.diff(of_rows.ends, prepend=0)
    number = np.arange(len(of_rows.values)) - np.repeat(of_rows.ends - n_windows, n_windows)
    if of_rows.window:
        number += np.repeat(np.rint(matches.start_s * UNIT_HZ / of_rows.hop).astype(np.int64), n_windows)
    recording = np.repeat(matches.recording, n_windows)
    kept = of_rows.counted & (recording >= 0)
    number, recording = number[kept], recording[kept]
    sizes = np.zeros(n_recordings, np.int64)
    np.maximum.at(sizes, recording, number + 1)
    ends = np.cumsum(sizes)
    at = (ends - sizes)[recording] + number
    times, values = np.zeros(sizes.sum(), np.int64), np.zeros((sizes.sum(), of_rows.values.shape[1]), np.float32)
    np.add.at(times, at, 1)
    np.add.at(values, at, of_rows.values[kept])
    return replace(of_rows, values=values / np.maximum(times, 1)[:, None], counted=times > 0, ends=ends)


def _read(table: LabelsTable, columns: list[str]) -> pa.Table:
    """Columns of all labeled rows, in the table's order; none of them is sound."""
    return pa.concat_tables(read_groups(table, columns)).combine_chunks()
