"""MSP-Face: its published lists of segments of videos on the web (Vidal, Salman, Lin and Busso 2020).

Videos are called as in ``link_videos.txt``, MSP-FACE_0001 with any suffix; their segments MSP-FACE_0001_0001.mp4.
"""

import json
import posixpath
from typing import Any

import pyarrow as pa

from liser_ray.corpora.segments import Segment, seconds
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import read_bytes
from liser_ray.storage.listing import walk

NAME = "mspface"

_SEGMENTS, _SPEAKERS, _GENDERS = "segments_data.txt", "speaker_id_segments.txt", "speaker_id_gender.txt"
_LABELS = ("label_consensus.json", "labels_concensus.json")  # the file's name, and the one in the set's own README
_LABELED = ("EmoClass_Major", "EmoAct", "EmoDom", "EmoVal", "Split_Set")

COLUMNS = [pa.field(name, pa.string()) for name in ("segment", "SpkrID", "Gender", *_LABELED)]
"""What the lists say of a segment, by their own names; null where they say nothing: 9,370 of 27,325 are labeled."""


def has_lists(folder: str) -> bool:
    """Whether they are below a folder or prefix."""
    return any(posixpath.basename(found.uri) == _SEGMENTS for found in walk(folder))


def read_segments(folder: str) -> list[tuple[str, Segment, tuple[Any, ...]]]:
    """Each segment in the lists below a folder or prefix: its video's name without suffix, where, and `COLUMNS`.

    Raises:
        UserError: the list of segments is not there, or one is no list of MSP-Face.
    """
    lists = {posixpath.basename(found.uri): found.uri for found in walk(folder)}
    if _SEGMENTS not in lists:
        raise UserError(f"{folder} has no {_SEGMENTS}: give the folder with the published lists of MSP-Face.")

    def lines(name: str, separator: str) -> list[list[str]]:
        text = read_bytes(lists[name]).decode() if name in lists else ""
        return [line.split(separator) for line in text.splitlines() if line.strip()]

    try:
        speakers = {segment: speaker.removeprefix("Speaker_") for segment, speaker in lines(_SPEAKERS, ",")}
        genders = {speaker.removeprefix("Speaker_"): gender for speaker, gender in lines(_GENDERS, ",")}
        labels_uri = next((lists[name] for name in _LABELS if name in lists), None)
        labels = json.loads(read_bytes(labels_uri)) if labels_uri else {}
        found = []
        for start, end, segment in lines(_SEGMENTS, "\t"):
            speaker = speakers.get(segment)
            (label,) = labels.get(segment, [{}])
            said = (segment, speaker, genders.get(speaker or ""), *(label.get(name) for name in _LABELED))
            found.append((segment.rpartition("_")[0], Segment(seconds(start) or 0.0, seconds(end)), said))
    except (ValueError, AttributeError) as error:
        raise UserError(f"The lists in {folder} are not as MSP-Face publishes them: {error}") from error
    return found
