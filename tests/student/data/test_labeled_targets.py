"""What teachers say of labeled recordings, from the rows of a table to a segment of a recording."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_labels import FACE, SPEECH_LABELS, speech_target, write_labels
from tones import make_tones, tone

from liser_ray.corpora.segments import SEGMENT_COLUMNS, Segment
from liser_ray.student.data.labeled_targets import Matches, joined_windows, match_rows, recording_windows
from liser_ray.student.data.labels_table import Scale, open_labels_table
from liser_ray.student.data.unlabeled import SegmentSettings, TargetWindows
from liser_ray.teachers.targets import Target

SPEECH = make_tones("abcd", takes=1, shortest_s=2.0, longest_s=4.0)
SPAN_S = 2.0
LEVEL = Target("level", "scalar", ("dB",), 0.0, 0.0, "2" * 64, "level")
TARGETS = (FACE, speech_target("speech"), LEVEL)


def spans(index, uri, start_s=0.0):
    """A recording in rows of two seconds."""
    pcm, n = SPEECH.waveform(index), int(SPAN_S * 16_000)
    return [(uri, start_s + k / 16_000, pcm[k : k + n]) for k in range(0, len(pcm), n)]


@pytest.fixture
def write(tmp_path):
    def written(*sounds):
        rows = write_labels(tmp_path, sounds=sounds, targets=TARGETS)
        return open_labels_table(str(tmp_path)), rows

    return written


@pytest.fixture
def match(write):
    def matched(*sounds):
        found = match_rows(SPEECH, write(*sounds)[0])
        return found.recording.tolist(), found.start_s.tolist()

    return matched


class TestMatchRows:
    def test_a_whole_recording_is_known_by_its_sound_wherever_it_lay(self, match):
        stranger = tone(0, 3.0, np.random.default_rng(9))
        elsewhere = [("moved/5.wav", 0.0, SPEECH.waveform(5)), ("x.wav", 0.0, stranger)]
        inside = ("one/long.wav", 16.0, SPEECH.waveform(2))  # as a part of a longer file
        assert match(*elsewhere, inside) == ([5, -1, 2], [0, 0, 0])

    def test_one_in_several_rows_is_known_by_its_address(self, match):
        rows = [*spans(1, SPEECH.uris[1]), *spans(3, "nowhere.wav")]
        recording, starts_s = match(*rows)
        n = len(spans(1, ""))
        assert n > 1
        assert recording == [1] * n + [-1] * (len(rows) - n)
        assert starts_s[:n] == [SPAN_S * k for k in range(n)]

    def test_another_sound_at_its_address_is_not_taken_for_it_if_it_is_longer(self, match):
        longer = np.concatenate([SPEECH.waveform(4), SPEECH.waveform(0)])
        rows = [(SPEECH.uris[4], 0.0, longer[:32_000]), (SPEECH.uris[4], 2.0, longer[32_000:])]
        assert match(*rows)[0] == [-1, -1]

    def test_the_sound_counts_more_than_the_address(self, match):
        assert match((SPEECH.uris[1], 0.0, SPEECH.waveform(0)))[0] == [0]
        both = [(SPEECH.uris[1], 0.0, SPEECH.waveform(1)), (SPEECH.uris[1], 0.0, SPEECH.waveform(2)[:20_000])]
        assert match(*both)[0] == [1, -1]


def test_a_segment_is_known_by_its_file_and_where_in_it_it_is(tmp_path, write):
    """Two recordings in rows of two seconds begin at one place of a file; a third has another segment of it."""
    places = {0: Segment(7.5, 12.0), 1: Segment(7.5, None), 2: Segment(9.0, 14.0)}
    rows = [(at, row) for k, at in places.items() for row in spans(k, "talk.wav")]
    write(*(row for _, row in rows))
    for path in tmp_path.glob("*.parquet"):
        table = pq.read_table(path)
        numbers = [int(span, 16) for span in table["span_id"].to_pylist()]
        for column, name in enumerate(SEGMENT_COLUMNS):
            table = table.append_column(name, pa.array([rows[number][0][column] for number in numbers], pa.float64()))
        pq.write_table(table, path)
    segments = tuple({**places, 2: Segment(9.0, 15.0)}.get(k, Segment(200.0 + k)) for k in range(len(SPEECH)))
    speech = replace(SPEECH, uris=("talk.wav",) * len(SPEECH), segments=segments)
    found = match_rows(speech, open_labels_table(str(tmp_path)))
    n = [len(spans(k, "")) for k in range(3)]
    assert found.recording.tolist() == [0] * n[0] + [1] * n[1] + [-1] * n[2]
    assert found.start_s.tolist()[n[0] : n[0] + n[1]] == [SPAN_S * k for k in range(n[1])]


def test_windows_of_rows_lie_where_they_do_in_the_recording(write):
    """Of a recording in two rows, of one in a single row, and of others that have none."""
    table, rows = write(*spans(1, SPEECH.uris[1]), ("3.wav", 0.0, SPEECH.waveform(3)))
    settings = SegmentSettings(SPEECH_LABELS, scales={"level": Scale(0.0, 1.0)})
    found = recording_windows(table, match_rows(SPEECH, table), len(SPEECH), TARGETS, settings)
    said = found["speech"]
    assert np.diff(said.ends, prepend=0)[[0, 2, 4]].tolist() == [0, 0, 0]
    values = np.concatenate([row["values"]["speech"] for row in rows[:-1]])
    np.testing.assert_array_equal(said.values[: said.ends[1]], values)
    np.testing.assert_array_equal(said.values[said.ends[2] : said.ends[3]], rows[-1]["values"]["speech"])
    level = np.mean([row["values"]["level"] for row in rows[:-1]])  # of the whole recording there is one
    np.testing.assert_allclose(found["level"].values, [[level], rows[-1]["values"]["level"][0]], rtol=1e-6)


def test_windows_that_do_not_count_or_are_of_no_recording_are_passed_over():
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    counted = np.array([True, False, True, True, True])
    of_rows = TargetWindows(values, counted, np.array([2, 3, 5]), 24_000, 24_000)
    found = joined_windows(of_rows, Matches(np.array([1, -1, 1]), np.array([0.0, 0.0, 1.5])), 3)
    assert found.ends.tolist() == [0, 5, 5]
    assert found.counted.tolist() == [True, False, False, True, True]
    np.testing.assert_array_equal(found.values[found.counted], values[[0, 3, 4]])
