"""Counts over a labels table, against one that can be counted by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_jobs import SPEECH, TARGETS, lost_row, row, table_of, windows, write_job

from liser_ray.labeling.page.statistics import Histogram, Outcome, TableStatistics, WideningHistogram, count_table
from liser_ray.teachers.targets import Target

NO_FACE = (0.0, 0.0, 0.0)
UNIFORM = (1 / 3, 1 / 3, 1 / 3)
ROWS = [
    row(1, face=[(0.9, 0.1, 0.0), NO_FACE, (0.2, 0.8, 0.0)], speech=[(0.0, 1.0, 0.0)], speech_fraction=1.0),
    row(2, face=[(0.0, 0.0, 1.0)], speech=[(0.9, 0.1, 0.0), UNIFORM], end_s=8.0),
    lost_row(3, detail="first"),
    row(4, face=[(0.1, 0.6, 0.3), (0.1, 0.6, 0.3)], speech=[(0.2, 0.1, 0.7)]),
    lost_row(5, status="filtered", reason="no_face", end_s=4.0, detail="no window"),
    lost_row(6, detail="second"),
    lost_row(7, stage="plan", reason="missing", end_s=0.0, detail="gone"),
]


def count(rows, batch_rows=4096, n_faces=0, targets=TARGETS) -> TableStatistics:
    statistics = TableStatistics(targets, n_faces)
    for batch in table_of(rows, targets).to_batches(max_chunksize=batch_rows):
        statistics.add(batch)
    return statistics


def test_labels_are_the_largest_mean_softmax_of_a_span_and_pairs_are_counted():
    assert count(ROWS).labels_by_class() == {
        "face": {"happy": 1, "sad": 1, "fear": 1},
        "speech": {"fearful": 1, "happy": 1, "calm": 1},
    }
    together = count(ROWS).together["face", "speech"]
    assert together.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # happy-happy, sad-calm, fear-fearful


def test_outcomes_have_spans_seconds_and_examples():
    outcomes = count(ROWS).outcomes
    assert {key: (one.spans, one.seconds) for key, one in outcomes.items()} == {
        Outcome("labeled", "", ""): (3, 40.0),
        Outcome("failed", "media", "corrupt"): (2, 32.0),
        Outcome("filtered", "media", "no_face"): (1, 4.0),
        Outcome("failed", "plan", "missing"): (1, 0.0),
    }
    corrupt = outcomes[Outcome("failed", "media", "corrupt")]
    assert [tuple(one.values()) for one in corrupt.examples] == [
        ("recordings/3.mp4", 0.0, "first"),
        ("recordings/6.mp4", 0.0, "second"),
    ]
    assert outcomes[Outcome("labeled", "", "")].examples == []
    many = count([lost_row(number) for number in range(20)], batch_rows=2).outcomes
    assert [one["start_s"] for one in many[Outcome("failed", "media", "corrupt")].examples] == [0.0] * 3


def test_windows_count_where_there_is_a_face_and_of_labeled_spans():
    statistics = count(ROWS)
    face, speech = statistics.targets.values()
    assert face.confidence.n == face.entropy_bits.n == statistics.face_size.n == 5
    assert face.confidence.counts[-1] == 1  # the window of recording 2, which is certain
    assert speech.confidence.n == 4
    assert speech.confidence.counts[0] == 1  # the uniform window
    assert speech.entropy_bits.counts[[0, -1]].tolist() == [1, 1]  # 0 bits of recording 1, log2 3 of the uniform one
    assert face.valid.counts[[0, -1]].tolist() == [1, 5]
    assert statistics.face_size.median == pytest.approx(0.2 * 0.25, rel=0.2)
    assert statistics.speech_fraction.n == 3


@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(1, 7))
@settings(max_examples=30)
def test_many_batches_give_what_one_gives_and_a_loop_over_rows(seed, n_rows, batch_rows):
    rng = np.random.default_rng(seed)

    def softmaxes():
        shape = (rng.integers(5), 3)
        return rng.dirichlet(np.ones(3), shape[0]) * rng.integers(2, size=(shape[0], 1))  # some are no softmax

    rows = [row(k, softmaxes(), softmaxes()) if rng.random() < 0.7 else lost_row(k) for k in range(n_rows)]
    one, many = count(rows), count(rows, batch_rows)
    assert many.outcomes == one.outcomes
    assert many.labels_by_class() == one.labels_by_class()
    assert (many.together["face", "speech"] == one.together["face", "speech"]).all()
    assert many.face_size.counts.tolist() == one.face_size.counts.tolist()
    for its, others in zip(one.targets.values(), many.targets.values(), strict=True):
        assert its.confidence.counts.tolist() == others.confidence.counts.tolist()
        assert its.entropy_bits.counts.tolist() == others.entropy_bits.counts.tolist()
    labels = [0, 0, 0]
    for span in table_of(rows).to_pylist():
        sums = np.sum(np.array(span["targets"]["face"]["values"], np.float64).reshape(-1, 3), axis=0)
        if span["status"] == "labeled" and sums.any():
            labels[int(sums.argmax())] += 1
    assert one.targets["face"].spans.tolist() == labels


def test_the_faces_to_show_do_not_depend_on_the_order_of_rows():
    rows = [row(number) for number in np.random.default_rng(0).permutation(50).tolist()]
    one, other = count(rows, 7, n_faces=4), count(sorted(rows, key=lambda one: one["span_id"]), n_faces=4)
    ids = set(one.faces["span_id"].to_pylist())
    assert ids == set(other.faces["span_id"].to_pylist())
    assert len(ids) == 4
    assert count(ROWS).faces is None


def test_a_table_is_counted_whole_without_its_sound_and_without_what_a_running_job_is_writing(tmp_path):
    folders = write_job(tmp_path, ROWS, files=3)
    for path in (tmp_path / "labels").rglob("*.parquet"):
        pa.parquet.write_table(pa.parquet.read_table(path).drop_columns(["audio"]), path)
    (tmp_path / "checkpoint/part-00001/0.parquet").touch()
    (tmp_path / "checkpoint/part-00001/9.pending.parquet").touch()
    (tmp_path / "labels/part-00001/9-0.parquet").write_bytes(b"PAR1 half of a")
    statistics = count_table(folders, TARGETS)
    assert statistics.total().spans == len(ROWS)
    assert statistics.labels_by_class() == count(ROWS).labels_by_class()


def test_a_window_without_speech_says_nothing_whatever_its_values_are():
    spoken = windows([(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)], valid=[0.5, 0.0, 0.0])
    silent = windows([(1.0, 0.0, 0.0)], valid=[0.0])
    statistics = count([row(1, targets={"speech": spoken}), row(2, targets={"speech": silent})], targets=[SPEECH])
    assert statistics.labels_by_class() == {"speech": {"fearful": 0, "happy": 1, "calm": 0}}
    assert statistics.targets["speech"].confidence.n == 1
    assert statistics.targets["speech"].valid.counts[0] == 3


def test_pairs_are_those_of_distributions_with_a_label_in_common():
    def target(name, *labels, kind="distribution"):
        return Target(name, kind, labels, 1.0, 1.0, "", name)

    targets = [target("a", "happy", "sad"), target("b", "sadness"), target("c", "calm"), target("d", "joy", "calm")]
    energy = target("energy", "happy", kind="scalar")
    assert list(TableStatistics([*targets, energy]).together) == [("a", "b"), ("a", "d"), ("c", "d")]
    values = {name: windows([one]) for name, one in {"a": (0, 1), "b": (1,), "c": (1,), "d": (1, 0)}.items()}
    counted = count([row(1, targets=values | {"energy": windows([(7.0,)])})], targets=[*targets, energy])
    assert [one.tolist() for one in counted.together.values()] == [[[0], [1]], [[0, 0], [1, 0]], [[1, 0]]]
    assert list(counted.labels_by_class()) == ["a", "b", "c", "d"]
    assert counted.targets["energy"].values.median == pytest.approx(7, rel=0.05)


@given(st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=200))
def test_a_histogram_counts_what_lies_outside_in_the_nearest_bin_and_its_median_is_off_by_less_than_a_bin(values):
    narrow, wide = Histogram(np.linspace(0, 1, 11)), Histogram(np.linspace(-0.5, 1.5, 41))
    assert np.isnan(narrow.median)
    for histogram in (narrow, wide):
        histogram.add(np.array(values))
        assert histogram.n == len(values)
    assert narrow.counts.tolist() == np.histogram(np.clip(values, 0, 1), narrow.edges)[0].tolist()
    low, high = np.quantile(values, 0.5, method="lower"), np.quantile(values, 0.5, method="higher")
    assert low - 0.05 - 1e-9 <= wide.median <= high + 0.05 + 1e-9


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=100), st.randoms())
def test_numbers_of_any_range_are_counted_alike_in_any_order_and_lie_in_their_bins(values, random):
    one, other = WideningHistogram(), WideningHistogram()
    one.add(np.array(values, np.float32))
    random.shuffle(values)
    for value in values:
        other.add(np.array([value], np.float32))
    assert one.edges.tolist() == other.edges.tolist()
    assert one.counts.tolist() == other.counts.tolist()
    assert one.counts.tolist() == np.histogram(values, one.edges)[0].tolist()
    largest = np.abs(values).max()
    assert one.edges[-1] <= max(2 * largest, 2**-10)


def test_a_value_far_away_leaves_the_others_their_bins():
    histogram, values = WideningHistogram(), np.random.default_rng(0).normal(2, 0.1, 10_000)
    histogram.add(np.append(values, 5000.0).astype(np.float32))
    assert histogram.median == pytest.approx(2, abs=1)
    middle = histogram.middle()
    assert (middle.n, len(middle.counts) <= 256, middle.edges[-1] < 10) == (10_001, True, True)
    histogram = WideningHistogram()
    histogram.add(values)
    middle = histogram.middle()
    assert middle.median == pytest.approx(np.median(values), abs=0.01)
    assert 100 < np.count_nonzero(middle.counts) <= 256


def test_what_is_kept_of_segments_has_the_times_of_their_files(tmp_path):
    """Or faces of others would be shown."""
    folders = write_job(tmp_path, [row(1, start_s=2.0, end_s=5.0), lost_row(2, start_s=1.0, end_s=4.0)])
    path = next((tmp_path / "labels").rglob("*.parquet"))
    pq.write_table(pq.read_table(path).append_column("segment_start_s", pa.array([30.0, 7.0])), path)
    found = count_table(folders, TARGETS, n_faces=1)
    assert found.faces["start_s"].to_pylist() == [32.0]
    (lost,) = (one for outcome, one in found.outcomes.items() if outcome.status == "failed")
    assert (lost.examples[0]["start_s"], lost.seconds) == (8.0, 3.0)
