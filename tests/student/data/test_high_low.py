from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_labels import FACE, SPEECH_LABELS, write_labels
from tones import make_tones

from liser_ray.student.data.high_low import splits_of
from liser_ray.student.data.labeled_targets import match_rows, recording_windows
from liser_ray.student.data.labels_table import open_labels_table, read_rows
from liser_ray.student.data.unlabeled import (
    HeldSegments,
    SegmentSettings,
    columns_of,
    load_unlabeled,
    segments_of_rows,
    target_windows,
)
from liser_ray.student.features import LogMel
from liser_ray.teachers.targets import Target

CPU = torch.device("cpu")
ENERGY = Target("energy", "scalar", ("dB",), 0.5, 0.5, "2" * 64, "energy")
TALKERS = ["a", "b", None, "a", "b", "", "c"]


def by_hand(value, group):
    """True: high, False: low, None: in the middle; in exact fractions."""
    ordered = sorted(Fraction(float(one)) for one in group)

    def quantile(share):
        below, over = divmod(share * (len(ordered) - 1), 1)
        return ordered[below] + over * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below])

    low, high = quantile(Fraction(2, 5)), quantile(Fraction(3, 5))
    if value >= high and value > low:
        return True
    return False if value <= low and value < high else None


def opened(folder, target=ENERGY, **rows):
    written = write_labels(folder, targets=(target, FACE), **rows)
    table = open_labels_table(str(folder))
    splits = splits_of(table, table.targets.values(), "high-low")
    return written, table, SegmentSettings(SPEECH_LABELS, scales=table.scales, splits=splits)


def all_rows(table, settings):
    columns = columns_of(table.targets.values(), settings)
    return pa.concat_tables([part for group in table.groups for part in read_rows(table, group, columns, 4)])


def group_of(row, written):
    """The windows that a row's are compared with."""
    speaker, of_table = row.get("speaker"), [one for row in written for one in row["values"]["energy"][:, 0]]
    same = [one for one in written if one.get("speaker") == speaker] if speaker else [row]
    of_group = [value for one in same for value in one["values"]["energy"][:, 0]]
    return of_group if len(of_group) >= 10 else of_table


def compare(found, written):
    expected = [by_hand(value, group_of(row, written)) for row in written for value in row["values"]["energy"][:, 0]]
    assert found.counted.tolist() == [one is not None for one in expected]
    assert [bool(one) for one in found.values[found.counted, 0]] == [one for one in expected if one is not None]


@pytest.mark.parametrize("speakers", [(), TALKERS * 6, [7, 8, None, 7, 8, 9, 10] * 6], ids=["nobody", "names", "ids"])
@pytest.mark.parametrize("column", ["speaker", "speaker_id"])
def test_a_window_is_compared_with_its_speakers_or_its_recordings_or_all(tmp_path, speakers, column):
    written, table, wanted = opened(tmp_path, rows=42, speakers=speakers, speaker_column=column)
    sizes = {len(group_of(row, written)) for row in written}
    assert min(sizes) >= 10
    assert len(sizes) > 2
    found = target_windows(all_rows(table, wanted), ENERGY, wanted)
    compare(found, written)
    assert 0.75 < found.counted.mean() < 0.85


def test_a_segments_target_is_the_share_of_high_windows_held_or_streamed(tmp_path):
    written, table, wanted = opened(tmp_path, rows=30, speakers=["a", "b", "c"] * 10)
    rows, places = all_rows(table, wanted), np.random.default_rng(0).random(len(written))
    taught, read = {"pretext": ENERGY}, []
    recordings = load_unlabeled(table, [ENERGY], wanted, CPU, read.append)
    held = HeldSegments(recordings, taught, 0, 0, CPU).cut(np.arange(len(written)), places).targets["pretext"]
    streamed = segments_of_rows(rows, places, taught, wanted, LogMel()).targets["pretext"]
    firsts = recordings.mels.first_frames(np.arange(len(written)), places)
    for number, (row, first) in enumerate(zip(written, firsts.tolist(), strict=True)):
        start = Fraction(first * 512, 16_000)
        inside = [
            by_hand(value, group_of(row, written))
            for k, value in enumerate(row["values"]["energy"][:, 0])
            if start <= Fraction(2 * k + 1, 4) < start + 3
        ]
        decided = [one for one in inside if one is not None]
        assert held.valid[number] == streamed.valid[number] == bool(decided)
        expected = sum(decided) / len(decided) if decided else 0
        assert held.values[number].item() == streamed.values[number].item() == pytest.approx(expected)
    between = held.values[held.valid]
    assert ((between > 0) & (between < 1)).any()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_values_that_occur_many_times(tmp_path_factory, values):
    """Of a constant nothing is high or low; of two values one is and the other is, if neither is most of all."""
    written, table, wanted = opened(
        tmp_path_factory.mktemp("labels"),
        rows=5,
        lengths_s=(1.0, 6.0),
        statuses=(1, 0, 0),
        draw=lambda rng, n: rng.choice(values, n),
    )
    compare(target_windows(all_rows(table, wanted), ENERGY, wanted), written)
    if len({*values}) == 1:
        assert not target_windows(all_rows(table, wanted), ENERGY, wanted).counted.any()


def test_of_many_windows_a_sample_says_where_to_split(tmp_path):
    fine = Target("energy", "scalar", ("dB",), 0.1, 0.01, "2" * 64, "energy")
    written, table, wanted = opened(tmp_path, fine, rows=24, lengths_s=(3.0, 4.0), speakers=["a"] * 23 + ["b"])
    values = np.concatenate([row["values"]["energy"] for row in written if row["speaker"] == "a"])
    assert len(values) > 4_000
    found = target_windows(all_rows(table, wanted), fine, wanted)
    of_speaker = slice(0, len(values))
    shares = [np.mean(found.counted[of_speaker]), np.mean(found.values[of_speaker][found.counted[of_speaker]])]
    assert shares == pytest.approx([0.8, 0.5], abs=0.05)  # 2.2 of a hundred is the deviation of the first
    again = splits_of(table, table.targets.values(), "high-low")["energy"]
    np.testing.assert_array_equal(again.bounds, wanted.splits["energy"].bounds)


def test_values_are_not_split_where_they_are_learned_themselves(tmp_path):
    _, table, _ = opened(tmp_path, rows=12)
    assert splits_of(table, table.targets.values(), "value") == {}
    assert splits_of(table, [FACE], "high-low") == {}


def test_labeled_recordings_are_compared_with_their_own_speakers(tmp_path):
    speech = make_tones("abcd", takes=2, shortest_s=3.0, longest_s=6.0)
    sounds = [(speech.uris[i], 0.0, speech.waveform(i)) for i in range(len(speech))]
    written, table, wanted = opened(tmp_path, sounds=sounds, speakers=list(speech.speakers))
    windows = recording_windows(table, match_rows(speech, table), len(speech), [ENERGY], wanted)["energy"]
    decided = [by_hand(value, group_of(row, written)) for row in written for value in row["values"]["energy"][:, 0]]
    expected = [float(one) for one in decided if one is not None]
    assert windows.values[windows.counted, 0].tolist() == expected
