from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_labels import SPEECH_LABELS, speech_teacher, write_labels

from liser_ray.student.data import order
from liser_ray.student.data.labels_table import open_labels_table, read_rows
from liser_ray.student.data.order import lap_rows
from liser_ray.student.data.unlabeled import (
    COLUMNS,
    SPEECH_WINDOW,
    VIDEO_WINDOW,
    HeldSegments,
    SegmentSettings,
    WindowProbs,
    load_unlabeled,
    segments_of_rows,
    teacher_windows,
)
from liser_ray.student.features import LogMel, fit_length, pad_edges, segment_samples

CPU = torch.device("cpu")
STUDENT_LABELS = ("angry", "neutral", "sad", "happy")
WINDOW_S = {SPEECH_WINDOW: Fraction(1, 2), VIDEO_WINDOW: Fraction(16, 30)}


def slow_mean(probs, counted, first_frame, window_s):
    """Of the windows that count and have their middle in the segment, in exact fractions; None if there are none."""
    start = Fraction(first_frame * 512, 16_000)
    inside = [
        row
        for number, (row, counts) in enumerate(zip(probs, counted, strict=True))
        if counts and start <= (number + Fraction(1, 2)) * window_s < start + 3
    ]
    return np.mean(np.array(inside, np.float64), axis=0) if inside else None


def windows_of(rng, n_windows, window, n_labels=3):
    total = sum(n_windows)
    return WindowProbs(rng.random((total, n_labels), np.float32), rng.random(total) < 0.7, np.cumsum(n_windows), window)


class TestMeans:
    @given(
        st.sampled_from([SPEECH_WINDOW, VIDEO_WINDOW]),
        st.lists(st.integers(0, 33), min_size=1, max_size=5).filter(any),
        st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=200)
    def test_as_by_hand(self, window, n_windows, seed):
        rng = np.random.default_rng(seed)
        windows = windows_of(rng, n_windows, window)
        rows = rng.integers(0, len(n_windows), 20)
        firsts = rng.integers(0, 440, 20)
        means, known = windows.means(rows, firsts)
        assert means.dtype == np.float32
        starts = windows.ends - n_windows
        for row, first, mean, is_known in zip(rows, firsts.tolist(), means, known, strict=True):
            here = slice(starts[row], windows.ends[row])
            expected = slow_mean(windows.probs[here], windows.counted[here], first, WINDOW_S[window])
            assert is_known == (expected is not None)
            np.testing.assert_allclose(mean, 0 if expected is None else expected, rtol=1e-5)

    def test_windows_of_half_a_second_in_the_first_3_s(self):
        """Middles at 0.25, 0.75 ... 2.75 s: six; 8 frames (0.256 s) later the first is out and 3.25 s is in."""
        windows = WindowProbs(np.eye(10, dtype=np.float32), np.ones(10, bool), np.array([10]), SPEECH_WINDOW)
        means, _ = windows.means(np.array([0, 0, 0]), np.array([0, 7, 8]))
        assert [np.flatnonzero(one).tolist() for one in means] == [[*range(6)], [*range(6)], [*range(1, 7)]]


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A table and the rows that were written to it; two teachers, of whom one lists the labels in another order."""
    folder = tmp_path_factory.mktemp("labels")
    teachers = (speech_teacher("fold-0"), speech_teacher("fold-1", tuple(reversed(SPEECH_LABELS)), fold=1))
    written = write_labels(folder, rows=60, seed=1, files=3, rows_per_group=9, teachers=teachers)
    return open_labels_table(str(folder)), written


def load(table, **of_settings):
    teachers = list(table.speech_teachers.values())
    reported = []
    found = load_unlabeled(table, teachers, SegmentSettings(STUDENT_LABELS, **of_settings), CPU, reported.append)
    assert reported[-1] == table.n_rows
    assert reported == sorted(reported)
    return found


@pytest.fixture(scope="module")
def recordings(labels):
    return load(labels[0])


def held(recordings, teacher="fold-0", seed=0, start=0):
    return HeldSegments(recordings, teacher, seed, start, CPU)


class TestTeacherWindows:
    def test_columns_are_in_the_students_order_whatever_the_teachers_is(self, labels):
        table, written = labels
        rows = pa.concat_tables([part for group in table.groups for part in read_rows(table, group, COLUMNS, 4)])
        for name, teacher in table.speech_teachers.items():
            found = teacher_windows(rows, teacher, SegmentSettings(STUDENT_LABELS)).speech
            assert found.counted.all()
            probs = np.concatenate([row["speech_probs"][name] for row in written])
            for column, label in enumerate(STUDENT_LABELS):
                np.testing.assert_array_equal(found.probs[:, column], probs[:, teacher.labels.index(label)])

    @pytest.mark.parametrize(("minimum", "counting"), [(0.0, {0.25, 0.5, 1}), (0.5, {0.5, 1}), (1.0, {1})])
    def test_windows_that_hardly_show_the_face_are_left_out(self, labels, minimum, counting):
        table, written = labels
        rows = pa.concat_tables([part for group in table.groups for part in read_rows(table, group, COLUMNS, 100)])
        settings = SegmentSettings(STUDENT_LABELS, min_video_valid=minimum)
        video = teacher_windows(rows, table.speech_teachers["fold-0"], settings).video
        valid = np.concatenate([row["video_valid"] for row in written])
        np.testing.assert_array_equal(video.counted, np.isin(valid, list(counting)))
        np.testing.assert_array_equal(video.ends, np.cumsum([len(row["video_valid"]) for row in written]))


class TestHeldSegments:
    def test_a_segment_has_its_own_sound_and_what_teachers_say_of_it(self, labels, recordings):
        """Each row, cut at a place of its own, against the written rows."""
        _, written = labels
        places = np.random.default_rng(0).random(len(written))
        segments = held(recordings, "fold-1").cut(np.arange(len(written)), places)
        assert 0 < segments.video_valid.sum() < len(written)
        for number, (row, place) in enumerate(zip(written, places, strict=True)):
            waveform = fit_length(torch.from_numpy(row["pcm"] / 32768).float())
            first = int(place * (1 + len(waveform) // 512 - 93))
            alone = LogMel().of_padded(segment_samples(pad_edges(waveform[None]), first))[0]
            torch.testing.assert_close(segments.log_mel[number], alone, atol=1e-5, rtol=1e-5)
            in_order = row["speech_probs"]["fold-1"][
                :, [tuple(reversed(SPEECH_LABELS)).index(label) for label in STUDENT_LABELS]
            ]
            speech = slow_mean(in_order, [True] * len(in_order), first, Fraction(1, 2))
            np.testing.assert_allclose(segments.speech[number], speech, rtol=1e-5)
            video = slow_mean(row["video_probs"], row["video_valid"] >= 0.5, first, Fraction(16, 30))
            assert bool(segments.video_valid[number]) == (video is not None)
            np.testing.assert_allclose(segments.video[number], np.zeros(7) if video is None else video, rtol=1e-5)

    @pytest.mark.parametrize("normalisation", ["none", "utterance"])
    def test_the_streamed_way_makes_the_same_segments(self, labels, normalisation):
        table, written = labels
        wanted = SegmentSettings(STUDENT_LABELS, normalisation, 0.25)
        places = np.random.default_rng(1).random(len(written))
        teacher = table.speech_teachers["fold-0"]
        recordings = load(table, normalisation=normalisation, min_video_valid=0.25)
        in_memory = held(recordings).cut(np.arange(len(written)), places)
        rows = pa.concat_tables([part for group in table.groups for part in read_rows(table, group, COLUMNS, 100)])
        streamed = segments_of_rows(rows, places, teacher, wanted, LogMel())
        torch.testing.assert_close(streamed.log_mel, in_memory.log_mel, atol=1e-4, rtol=1e-4)
        for one, other in zip(streamed[1:], in_memory[1:], strict=True):
            assert torch.equal(one, other)

    @pytest.mark.parametrize("n", [1, 7, 25, 130])
    def test_laps_follow_one_another_without_loss_or_double(self, recordings, monkeypatch, n):
        monkeypatch.setattr(order, "SHUFFLE_ROWS", 16)
        n_rows = len(recordings.mels)
        segments = held(recordings, seed=3)
        together = torch.cat([segments.take(n).log_mel for _ in range(-(-3 * n_rows // n))])
        for lap in range(3):
            rows, places = lap_rows(recordings.group_sizes, 3, lap)
            expected = segments.cut(rows, places).log_mel
            assert torch.equal(together[lap * n_rows : (lap + 1) * n_rows], expected)

    @pytest.mark.parametrize("laps", [0.4, 1, 2.7])
    def test_it_goes_on_where_it_was(self, recordings, laps):
        done = int(laps * len(recordings.mels))
        from_start = held(recordings)
        from_start.take(done)
        assert torch.equal(from_start.take(30).log_mel, held(recordings, start=done).take(30).log_mel)

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_shares_are_the_parts_of_the_whole(self, recordings, world_size):
        whole = held(recordings)
        shares = [held(recordings) for _ in range(world_size)]
        for n in (25, 1, 0, 26):
            expected = whole.take(n)
            parts = [one.take(n, slice(rank, None, world_size)) for rank, one in enumerate(shares)]
            for field, of_whole in enumerate(expected):
                for rank, part in enumerate(parts):
                    assert torch.equal(part[field], of_whole[rank::world_size])

    def test_nothing_is_wanted(self, recordings):
        nothing = held(recordings).take(0)
        assert [tuple(one.shape) for one in nothing] == [(0, 64, 94), (0, 4), (0, 7), (0,)]
