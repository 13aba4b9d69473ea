"""Rows of an unlabeled table that are recordings of the labeled set: nobody is heard on whom a student is scored."""

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

_BATCH_ROWS = 8192


@dataclass(frozen=True, eq=False)
class OwnRows:
    """Which of a table's N labeled rows sound like a recording of the labeled set, or are of its file.

    Attributes:
        sound: int32 [N], the recording that has the row's samples; -1: none.
        file: int32 [N], the place in ``files`` of the row's address; -1: none.
        near: bool [N], whether the row's address is in a folder that has all recordings of the set, or of one that is
            joined in it.
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
        """Whether each row is, or may be, of these speakers, bool [N]: a file with recordings of several counts."""
        recordings = self.speech.of_speakers(speakers)
        places = {uri: place for place, uri in enumerate(_files(self.speech))}
        of_files = [places[uri] for uri in dict.fromkeys(self.speech.uris[k] for k in recordings)]
        return np.isin(self.sound, recordings) | np.isin(self.file, of_files)


def find_own_rows(speech: LabeledSpeech, table: LabelsTable) -> OwnRows:
    """Find them by the samples of whole recordings, wherever the files lay, and by the files' addresses."""
    sounds = pa.array([digest(speech.waveform(k)) for k in range(len(speech))])
    files = pa.array(_files(speech))
    of_parts = [
        [uri for uri, of in zip(speech.uris, speech.part_index, strict=True) if of == part]
        for part in range(len(speech.parts))
    ]
    folders = [posixpath.commonprefix(uris).rpartition("/")[0] + "/" for uris in of_parts if uris]

    def of_group(group: RowGroup) -> np.ndarray:
        found = [np.zeros((3, 0), np.int32)]
        for rows in read_rows(table, group, ["uri", "content_hash"], _BATCH_ROWS):
            of_sound = pc.utf8_slice_codeunits(rows["content_hash"], SOUND_HASH.start or 0, SOUND_HASH.stop)
            pairs = (of_sound, sounds), (rows["uri"], files)
            places = [pc.index_in(of, known).fill_null(-1).to_numpy() for of, known in pairs]
            near = [pc.starts_with(rows["uri"], folder).to_numpy() for folder in folders]
            found.append(np.stack([*places, np.any(near, axis=0)]))
        return np.concatenate(found, axis=1)

    with ThreadPoolExecutor(READERS) as threads:
        sound, file, near = np.concatenate(list(threads.map(of_group, table.groups)), axis=1)
    return OwnRows(sound, file, near.astype(bool), speech)


def _files(speech: LabeledSpeech) -> list[str]:
    return list(dict.fromkeys(speech.uris))
