"""Rows of an unlabeled table that are recordings of the labeled set: nobody is heard on whom a student is scored."""

import logging
import posixpath
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from liser_ray.corpora.speech import LabeledSpeech
from liser_ray.media.content_hash import SOUND_HASH, digest
from liser_ray.student.data.labels_table import READERS, LabelsTable, RowGroup, read_rows

log = logging.getLogger(__name__)

_BATCH_ROWS = 8192


@dataclass(frozen=True, eq=False)
class OwnRows:
    """Which of a table's N labeled rows sound like a recording of the labeled set, or are of its file.

    Attributes:
        sound: int32 [N], the recording that has the row's samples; -1: none.
        file: int32 [N], the place of the row's address among the set's files; -1: none.
        near: bool [N], whether the row's file is in a folder with recordings of the set.
        speech: the labeled set.
    """

    sound: np.ndarray
    file: np.ndarray
    near: np.ndarray
    speech: LabeledSpeech

    @property
    def known(self) -> np.ndarray:
        """Whether each row is, or may be, of anybody in the set, bool [N]."""
        return (self.sound >= 0) | (self.file >= 0)

    def of_speakers(self, speakers: Collection[str]) -> np.ndarray:
        """Whether each row is, or may be, of these speakers, bool [N].

        What sounds like none of the recordings goes by its file, which may have recordings of several.
        """
        recordings = self.speech.of_speakers(speakers)
        places = {uri: place for place, uri in enumerate(_files(self.speech))}
        of_files = [places[uri] for uri in dict.fromkeys(self.speech.uris[k] for k in recordings)]
        return np.isin(self.sound, recordings) | ((self.sound < 0) & np.isin(self.file, of_files))


def find_own_rows(speech: LabeledSpeech, table: LabelsTable) -> OwnRows:
    """Find them by the samples of whole recordings, wherever the files lay, and by the files' addresses.

    Rows that lie beside the set's recordings and are none of them are warned of.
    """
    sounds = pa.array([digest(speech.waveform(k)) for k in range(len(speech))])
    files = pa.array(_files(speech))
    folders = pa.array(list(dict.fromkeys(map(posixpath.dirname, speech.uris))))

    def of_group(group: RowGroup) -> np.ndarray:
        found = [np.zeros((3, 0), np.int32)]
        for rows in read_rows(table, group, ["uri", "content_hash"], _BATCH_ROWS):
            of_sound = pc.utf8_slice_codeunits(rows["content_hash"], SOUND_HASH.start or 0, SOUND_HASH.stop)
            pairs = (of_sound, sounds), (rows["uri"], files)
            places = [pc.index_in(of, known).fill_null(-1).to_numpy() for of, known in pairs]
            near = pc.is_in(pc.replace_substring_regex(rows["uri"], "/[^/]*$", ""), folders)
            found.append(np.stack([*places, near.to_numpy()]))
        return np.concatenate(found, axis=1)

    with ThreadPoolExecutor(READERS) as threads:
        sound, file, near = np.concatenate(list(threads.map(of_group, table.groups)), axis=1)
    own = OwnRows(sound, file, near.astype(bool), speech)
    if unknown := int((own.near & ~own.known).sum()):
        log.warning(
            "%s: %s rows lie in folders of %s and are none of its recordings (videos, songs, whole dialogues). A "
            "speaker who is scored may be in them: then scores are not of people whom nobody has heard. Label without "
            "them if you do not know.",
            *(table.uri, f"{unknown:,}", speech.name),
        )
    return own


def _files(speech: LabeledSpeech) -> list[str]:
    return list(dict.fromkeys(speech.uris))
