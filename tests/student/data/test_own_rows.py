"""Which rows of an unlabeled table are of the labeled set's people."""

from dataclasses import replace

import numpy as np
import pytest
from small_labels import FACE, write_labels
from tones import make_tones, tone

from liser_ray.student.data.labels_table import open_labels_table
from liser_ray.student.data.own_rows import find_own_rows

TONES = make_tones("abcd", takes=1, shortest_s=2.0, longest_s=3.0)
SPEECH = replace(TONES, uris=tuple(f"set/{uri}" for uri in TONES.uris))
STRANGER = tone(0, 2.5, np.random.default_rng(9))


@pytest.fixture
def find(tmp_path):
    def found(*sounds):
        write_labels(tmp_path, sounds=[(uri, 0.0, pcm) for uri, pcm in sounds], targets=[FACE])
        return find_own_rows(SPEECH, open_labels_table(str(tmp_path)))

    return found


def test_rows_are_of_a_speaker_by_their_sound_or_by_their_address(find):
    own = find(("moved.wav", SPEECH.waveform(1)), (SPEECH.uris[4], STRANGER), ("else.wav", STRANGER))
    assert own.known.tolist() == [True, True, False]
    assert own.of_speakers([SPEECH.speakers[1]]).tolist() == [True, False, False]
    assert own.of_speakers([SPEECH.speakers[4]]).tolist() == [False, True, False]


def test_another_speakers_segment_of_the_same_file_is_known_by_its_sound(find):
    own = find((SPEECH.uris[4], SPEECH.waveform(1)), (SPEECH.uris[4], STRANGER))
    assert own.of_speakers([SPEECH.speakers[4]]).tolist() == [False, True]


def test_rows_beside_the_recordings_that_are_none_of_them_are_warned_of(find, caplog):
    own = find((SPEECH.uris[0], SPEECH.waveform(0)), ("set/song.wav", STRANGER), ("elsewhere/song.wav", STRANGER))
    assert own.near.tolist() == [True, True, False]
    assert f"1 rows lie in folders of {SPEECH.name} and are none of its recordings" in caplog.text


def test_nothing_is_said_of_a_table_of_other_folders(find, caplog):
    find(("moved/to.wav", SPEECH.waveform(0)), ("elsewhere/song.wav", STRANGER))
    assert not caplog.records
