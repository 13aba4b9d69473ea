from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_labels import FACE, SPEECH_LABELS, speech_target, write_labels

from liser_ray.student.data import order
from liser_ray.student.data.labels_table import open_labels_table, read_rows
from liser_ray.student.data.order import lap_rows, placebo_rows
from liser_ray.student.data.unlabeled import (
    HeldSegments,
    SegmentSettings,
    TargetWindows,
    columns_of,
    load_unlabeled,
    segments_of_rows,
    target_windows,
)
from liser_ray.student.features import LogMel, pad_edges, segment_samples
from liser_ray.teachers.targets import Target

CPU = torch.device("cpu")
STUDENT_LABELS = ("angry", "neutral", "sad", "happy")
GRIDS = {
    "half a second": ("1/2", "1/2"),
    "16 pictures": ("16/30", "16/30"),
    "overlapping": ("3", "1"),
    "gaps": ("1", "4"),
}
SECONDS = {name: tuple(map(Fraction, grid)) for name, grid in GRIDS.items()}


def slow_mean(values, counted, first_frame, window_s, hop_s, speed=1):
    """Of the windows that count and have their middle in the segment, in exact fractions; None if there are none."""
    start = Fraction(first_frame * 512, 16_000) * speed
    inside = [
        row
        for number, (row, counts) in enumerate(zip(values, counted, strict=True))
        if counts and (not window_s or start <= number * hop_s + window_s / 2 < start + 3 * speed)
    ]
    return np.mean(np.array(inside, np.float64), axis=0) if inside else None


def windows_of(rng, n_windows, window_s, hop_s, n_values=3):
    total, grid = sum(n_windows), (round(48_000 * window_s), round(48_000 * hop_s))
    values = rng.random((total, n_values), np.float32)
    return TargetWindows(values, rng.random(total) < 0.7, np.cumsum(n_windows), *grid)


class TestMeans:
    @given(
        st.sampled_from(sorted(SECONDS)),
        st.lists(st.integers(0, 33), min_size=1, max_size=5),
        st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=300)
    def test_as_by_hand(self, grid, n_windows, seed):
        rng = np.random.default_rng(seed)
        windows = windows_of(rng, n_windows, *SECONDS[grid])
        rows = rng.integers(0, len(n_windows), 20)
        firsts = rng.integers(0, 440, 20)
        self.compare(windows, n_windows, rows, firsts, *SECONDS[grid])

    def test_a_window_of_the_whole_recording_counts_for_each_of_its_segments(self):
        rng, n_windows = np.random.default_rng(0), [1, 0, 1, 1]
        windows = replace(windows_of(rng, n_windows, 0, 0), counted=np.array([True, False, True]))
        self.compare(windows, n_windows, np.array([0, 1, 2, 3, 0]), np.array([0, 7, 9, 11, 400]), 0, 0)

    @pytest.mark.parametrize("grid", sorted(SECONDS))
    def test_of_a_recording_that_is_heard_at_another_speed(self, grid):
        """At 5/4 of its speed a segment is 3.75 s of it, and begins 5/4 as late as its frames say."""
        rng, n_windows = np.random.default_rng(2), [33, 12, 20]
        windows = windows_of(rng, n_windows, *SECONDS[grid])
        rows, firsts = rng.integers(0, 3, 40), rng.integers(0, 440, 40)
        speeds = rng.choice([0.5, 0.75, 1.0, 1.25, 2.0], 40)
        self.compare(windows, n_windows, rows, firsts, *SECONDS[grid], speeds=speeds)

    def compare(self, windows, n_windows, rows, firsts, window_s, hop_s, speeds=1.0):
        means, known = windows.means(rows, firsts, speeds)
        assert means.dtype == torch.float32
        starts = windows.ends - n_windows
        speeds = np.broadcast_to(speeds, len(rows)).tolist()
        for row, first, speed, mean, is_known in zip(rows, firsts.tolist(), speeds, means, known, strict=True):
            here = slice(starts[row], windows.ends[row])
            grid = window_s, hop_s, Fraction(speed)
            expected = slow_mean(windows.values[here], windows.counted[here], first, *grid)
            assert is_known == (expected is not None)
            np.testing.assert_allclose(mean, 0 if expected is None else expected, rtol=1e-5)

    def test_windows_of_half_a_second_in_the_first_3_s(self):
        """Middles at 0.25, 0.75 ... 2.75 s: six; 8 frames (0.256 s) later the first is out and 3.25 s is in."""
        windows = TargetWindows(np.eye(10, dtype=np.float32), np.ones(10, bool), np.array([10]), 24_000, 24_000)
        means, _ = windows.means(np.array([0, 0, 0]), np.array([0, 7, 8]))
        assert [np.flatnonzero(one).tolist() for one in means] == [[*range(6)], [*range(6)], [*range(1, 7)]]


LEVEL = Target("level", "scalar", ("dB",), 0.0, 0.0, "2" * 64, "level")
TAUGHT = {"speech": "fold_1", "face": "face", "level": "level"}  # the student's names for the table's


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A table and the rows that were written to it; a teacher of two folds, of whom one lists the labels backwards."""
    folder = tmp_path_factory.mktemp("labels")
    speech = (speech_target("fold_0"), speech_target("fold_1", tuple(reversed(SPEECH_LABELS)), fold=1))
    written = write_labels(folder, rows=60, seed=1, files=3, rows_per_group=9, targets=(FACE, *speech, LEVEL))
    return open_labels_table(str(folder)), written


def settings_of(table, **settings):
    return SegmentSettings(STUDENT_LABELS, scales=table.scales, **settings)


def load(table, **settings):
    reported = []
    found = load_unlabeled(table, table.targets.values(), settings_of(table, **settings), CPU, reported.append)
    assert reported[-1] == table.n_rows
    assert reported == sorted(reported)
    return found


@pytest.fixture(scope="module")
def recordings(labels):
    return load(labels[0])


@pytest.fixture(scope="module")
def taught(labels):
    return {name: labels[0].targets[of] for name, of in TAUGHT.items()}


@pytest.fixture
def held(recordings, taught):
    def segments(seed=0, start=0, of=recordings, placebo=False, kept=None):
        return HeldSegments(of, taught, seed, start, CPU, placebo, kept)

    return segments


def all_rows(table):
    columns = columns_of(table.targets.values(), settings_of(table))
    return pa.concat_tables([part for group in table.groups for part in read_rows(table, group, columns, 4)])


def test_embeddings_are_not_read(tmp_path):
    write_labels(tmp_path, rows=4, targets=(replace(FACE, embedding_size=3),))
    (field,) = all_rows(open_labels_table(str(tmp_path))).schema.field("targets").type
    assert [one.name for one in field.type] == ["values", "valid"]


def test_embeddings_are_means_over_the_same_windows_held_or_streamed(tmp_path):
    face, whole = replace(FACE, embedding_size=3), replace(speech_target("whole"), embedding_size=2)
    whole = replace(whole, window_s=0.0, hop_s=0.0)
    written = write_labels(tmp_path, rows=20, seed=2, targets=(face, whole))
    table, settings = open_labels_table(str(tmp_path)), SegmentSettings(STUDENT_LABELS)
    learned = {"face": face, "face.embedding": face.of_embedding(), "whole.embedding": whole.of_embedding()}
    places = np.random.default_rng(1).random(len(written))
    recordings = load_unlabeled(table, learned.values(), settings, CPU, lambda _: None)
    in_memory = HeldSegments(recordings, learned, 0, 0, CPU).cut(np.arange(len(written)), places)
    columns = columns_of(learned.values(), settings)
    rows = pa.concat_tables([part for group in table.groups for part in read_rows(table, group, columns, 4)])
    streamed = segments_of_rows(rows, places, learned, settings, LogMel())
    firsts = recordings.mels.first_frames(np.arange(len(written)), places).tolist()
    for name, grid in (("face", SECONDS["16 pictures"]), ("whole", (0, 0))):
        found, also = in_memory.targets[f"{name}.embedding"], streamed.targets[f"{name}.embedding"]
        assert found.values.dtype == torch.float32
        assert torch.equal(found.values, also.values)
        assert torch.equal(found.valid, also.valid)
        for row, first, mean, known in zip(written, firsts, found.values, found.valid, strict=True):
            expected = slow_mean(row["embedding"][name], row["valid"][name] >= 0.5, first, *grid)
            assert known == (expected is not None)
            np.testing.assert_allclose(mean, 0 if expected is None else expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(in_memory.targets["face"].valid, in_memory.targets["face.embedding"].valid)


class TestTargetWindows:
    def test_values_are_in_the_students_order_whatever_the_teachers_is(self, labels):
        table, written = labels
        for name in ("fold_0", "fold_1"):
            found = target_windows(all_rows(table), table.targets[name], settings_of(table))
            values = np.concatenate([row["values"][name] for row in written])
            for column, label in enumerate(STUDENT_LABELS):
                at = table.targets[name].labels.index(label)
                np.testing.assert_array_equal(found.values[:, column], values[:, at])

    def test_other_labels_stay_as_they_are_and_a_scalar_gets_mean_0_and_deviation_1(self, labels):
        table, written = labels
        face, level = (
            target_windows(all_rows(table), table.targets[one], settings_of(table)) for one in ("face", "level")
        )
        np.testing.assert_array_equal(face.values, np.concatenate([row["values"]["face"] for row in written]))
        assert level.values.dtype == np.float32
        assert (level.values.mean(), level.values.std()) == pytest.approx((0, 1), abs=1e-5)
        measured = np.concatenate([row["values"]["level"] for row in written])
        assert np.corrcoef(measured[:, 0], level.values[:, 0])[0, 1] == pytest.approx(1)

    @pytest.mark.parametrize(("minimum", "counting"), [(0.0, {0.25, 0.5, 1}), (0.5, {0.5, 1}), (1.0, {1})])
    def test_windows_that_hardly_show_the_face_are_left_out(self, labels, minimum, counting):
        table, written = labels
        face = target_windows(all_rows(table), table.targets["face"], settings_of(table, min_valid=minimum))
        valid = np.concatenate([row["valid"]["face"] for row in written])
        np.testing.assert_array_equal(face.counted, np.isin(valid, list(counting)))
        np.testing.assert_array_equal(face.ends, np.cumsum([len(row["valid"]["face"]) for row in written]))


class TestHeldSegments:
    def test_a_segment_has_its_own_sound_and_what_teachers_say_of_it(self, labels, held):
        """Each row, cut at a place of its own, against the written rows."""
        table, written = labels
        places = np.random.default_rng(0).random(len(written))
        segments = held().cut(np.arange(len(written)), places)
        assert 0 < segments.targets["face"].valid.sum() < len(written)
        backwards = [tuple(reversed(SPEECH_LABELS)).index(label) for label in STUDENT_LABELS]
        for number, (row, place) in enumerate(zip(written, places, strict=True)):
            waveform = LogMel().fit_length(torch.from_numpy(row["pcm"] / 32768).float())
            first = int(place * (1 + len(waveform) // 512 - 93))
            alone = LogMel().of_padded(segment_samples(pad_edges(waveform[None]), first))[0]
            torch.testing.assert_close(segments.log_mel[number], alone, atol=1e-5, rtol=1e-5)
            for name, of in TAUGHT.items():
                values, grid = row["values"][of], SECONDS["16 pictures" if name == "face" else "half a second"]
                if name == "speech":
                    values = values[:, backwards]
                if name == "level":
                    values, grid = (values - table.scales["level"].mean) / table.scales["level"].std, (0, 0)
                mean = slow_mean(values, row["valid"][of] >= 0.5, first, *grid)
                found = segments.targets[name]
                assert bool(found.valid[number]) == (mean is not None)
                np.testing.assert_allclose(found.values[number], 0 if mean is None else mean, rtol=1e-4, atol=1e-6)

    def test_a_placebo_gives_the_targets_of_another_recording_and_leaves_the_sound(self, held):
        plain, placebo = held(seed=4), held(seed=4, placebo=True)
        n_rows = len(plain._mels)
        rows, places = np.arange(n_rows), np.random.default_rng(0).random(n_rows)
        told_of = placebo_rows(n_rows, 4)
        assert sorted(told_of) == rows.tolist()
        assert not (told_of == rows).any()
        found, theirs = placebo.cut(rows, places), plain.cut(told_of, places)
        assert torch.equal(found.log_mel, plain.cut(rows, places).log_mel)
        for name in TAUGHT:
            assert torch.equal(found.targets[name].values, theirs.targets[name].values)
            assert torch.equal(found.targets[name].valid, theirs.targets[name].valid)

    @pytest.mark.parametrize("normalisation", ["none", "utterance"])
    def test_the_streamed_way_makes_the_same_segments(self, labels, held, taught, normalisation):
        table, written = labels
        wanted = {"normalisation": normalisation, "min_valid": 0.25}
        places = np.random.default_rng(1).random(len(written))
        in_memory = held(of=load(table, **wanted)).cut(np.arange(len(written)), places)
        streamed = segments_of_rows(all_rows(table), places, taught, settings_of(table, **wanted), LogMel())
        torch.testing.assert_close(streamed.log_mel, in_memory.log_mel, atol=1e-4, rtol=1e-4)
        for name in TAUGHT:
            for one, other in zip(streamed.targets[name], in_memory.targets[name], strict=True):
                assert torch.equal(one, other)

    @pytest.mark.parametrize("n", [1, 7, 25, 130])
    def test_laps_follow_one_another_without_loss_or_double(self, recordings, held, monkeypatch, n):
        monkeypatch.setattr(order, "SHUFFLE_ROWS", 16)
        n_rows = len(recordings.mels)
        segments = held(seed=3)
        together = torch.cat([segments.take(n).log_mel for _ in range(-(-3 * n_rows // n))])
        for lap in range(3):
            rows, places = lap_rows(recordings.group_sizes, 3, lap)
            expected = segments.cut(rows, places).log_mel
            assert torch.equal(together[lap * n_rows : (lap + 1) * n_rows], expected)

    @pytest.mark.parametrize("placebo", [False, True])
    def test_some_rows_are_left_out_with_what_is_said_of_them(self, recordings, held, placebo):
        """A whole group among them: a lap has each row that is kept once, and where one goes on is counted in these."""
        n_rows, first_group = len(recordings.mels), int(recordings.group_sizes[0])
        kept = np.arange(n_rows)[first_group::2]
        segments = held(kept=kept, placebo=placebo)
        told_of = segments._told_of[kept]
        assert sorted(told_of) == kept.tolist()
        assert (told_of == kept).any() != placebo
        lap = segments.take(len(kept))
        one_by_one = [held(start=k, kept=kept, placebo=placebo).take(1).log_mel for k in range(len(kept))]
        assert torch.equal(lap.log_mel, torch.cat(one_by_one))
        rows = np.array([np.flatnonzero(segments.kept == row)[0] for row in segments._rows])
        assert sorted(rows) == list(range(len(kept)))

    @pytest.mark.parametrize("laps", [0.4, 1, 2.7])
    def test_it_goes_on_where_it_was(self, recordings, held, laps):
        done = int(laps * len(recordings.mels))
        from_start = held()
        from_start.take(done)
        assert torch.equal(from_start.take(30).log_mel, held(start=done).take(30).log_mel)

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_shares_are_the_parts_of_the_whole(self, held, world_size):
        whole = held()
        shares = [held() for _ in range(world_size)]
        for n in (25, 1, 0, 26):
            expected = whole.take(n)
            for rank, one in enumerate(shares):
                part = one.take(n, slice(rank, None, world_size))
                assert torch.equal(part.log_mel, expected.log_mel[rank::world_size])
                for name, target in expected.targets.items():
                    assert torch.equal(part.targets[name].values, target.values[rank::world_size])
                    assert torch.equal(part.targets[name].valid, target.valid[rank::world_size])

    def test_nothing_is_wanted(self, held):
        nothing = held().take(0)
        shapes = {name: [tuple(one.shape) for one in target] for name, target in nothing.targets.items()}
        assert tuple(nothing.log_mel.shape) == (0, 64, 94)
        assert shapes == {"speech": [(0, 4), (0,)], "face": [(0, 7), (0,)], "level": [(0, 1), (0,)]}
