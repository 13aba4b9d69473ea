"""Counts over a labels table, against one that can be counted by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_jobs import SPEECH_LABELS, VIDEO_LABELS, lost_row, row, table_of, write_job

from liser_ray.labeling.page.statistics import Outcome, TableStatistics, count_plan, count_rows, count_table

NO_FACE = (0.0, 0.0, 0.0)
UNIFORM = (1 / 3, 1 / 3, 1 / 3)
ROWS = [
    row(1, video=[(0.9, 0.1, 0.0), NO_FACE, (0.2, 0.8, 0.0)], speech=[(0.0, 1.0, 0.0)], speech_fraction=1.0),
    row(2, video=[(0.0, 0.0, 1.0)], speech=[(0.9, 0.1, 0.0), UNIFORM], end_s=8.0),
    lost_row(3, detail="first"),
    row(4, video=[(0.1, 0.6, 0.3), (0.1, 0.6, 0.3)], speech=[(0.2, 0.1, 0.7)]),
    lost_row(5, status="filtered", reason="no_face", end_s=4.0, detail="no window"),
    lost_row(6, detail="second"),
    lost_row(7, stage="plan", reason="missing", end_s=0.0, detail="gone"),
]


def count(rows, batch_rows=4096, n_faces=0) -> TableStatistics:
    batches = table_of(rows).to_batches(max_chunksize=batch_rows)
    return count_rows(batches, VIDEO_LABELS, {"fold-0": SPEECH_LABELS}, n_faces)


def test_labels_are_the_largest_mean_softmax_of_a_span():
    assert count(ROWS).labels_by_class() == {
        "video": {"happy": 1, "sad": 1, "fear": 1},
        "fold-0": {"fearful": 1, "happy": 1, "calm": 1},
    }


def test_pairs_of_labels_are_counted_by_span():
    together = count(ROWS).together["fold-0"]
    assert together.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # happy-happy, sad-calm, fear-fearful


def test_outcomes_have_spans_seconds_and_examples():
    outcomes = count(ROWS).outcomes
    assert {key: (one.spans, one.seconds, one.no_length) for key, one in outcomes.items()} == {
        Outcome("labeled", "", ""): (3, 40.0, 0),
        Outcome("failed", "media", "corrupt"): (2, 32.0, 0),
        Outcome("filtered", "media", "no_face"): (1, 4.0, 0),
        Outcome("failed", "plan", "missing"): (1, 0.0, 1),
    }
    corrupt = outcomes[Outcome("failed", "media", "corrupt")]
    assert corrupt.examples == [("videos/3.mp4", 0.0, "first"), ("videos/6.mp4", 0.0, "second")]
    assert outcomes[Outcome("labeled", "", "")].examples == []


def test_confidence_and_entropy_are_of_windows_with_a_face():
    statistics = count(ROWS)
    assert statistics.video.confidence.n == statistics.video.entropy_bits.n == 5
    assert statistics.video.confidence.counts[-1] == 1  # the window of video 2, which is certain
    speech = statistics.speech["fold-0"]
    assert speech.confidence.n == 4
    assert speech.confidence.counts[0] == 1  # the uniform window
    assert speech.entropy_bits.counts[[0, -1]].tolist() == [1, 1]  # 0 bits of video 1, log2 3 of the uniform one


def test_faces_and_speech_are_of_labeled_spans():
    statistics = count(ROWS)
    assert statistics.video_valid.counts[[0, -1]].tolist() == [1, 5]
    assert statistics.face_size.n == 5
    assert statistics.face_size.median == pytest.approx(0.2 * 0.25, rel=0.2)
    assert statistics.speech_fraction.n == 3


def test_no_more_than_three_examples_are_kept():
    examples = count([lost_row(number) for number in range(20)], batch_rows=2).outcomes
    assert [one.uri for one in examples["failed", "media", "corrupt"].examples] == [f"videos/{k}.mp4" for k in range(3)]


softmaxes = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3).map(
    lambda raw: tuple(np.array(raw) / sum(raw)) if sum(raw) > 0.1 else NO_FACE
)
windows = st.lists(softmaxes, max_size=4)
random_rows = st.builds(
    lambda number, video, speech, lost: lost_row(number, reason=lost) if lost else row(number, video, speech),
    *(st.integers(0, 10_000), windows, windows),
    st.sampled_from(["", "", "", "corrupt", "timeout"]),
)


@settings(max_examples=30)
@given(st.lists(random_rows, max_size=30), st.integers(1, 7))
def test_many_batches_give_what_one_gives(rows, batch_rows):
    one, many = count(rows), count(rows, batch_rows)
    assert many.outcomes == one.outcomes
    assert many.labels_by_class() == one.labels_by_class()
    assert (many.together["fold-0"] == one.together["fold-0"]).all()
    for histograms in zip(_histograms(one), _histograms(many), strict=True):
        assert histograms[0].counts.tolist() == histograms[1].counts.tolist()


@settings(max_examples=30)
@given(st.lists(random_rows, max_size=30))
def test_counts_are_those_of_a_loop_over_rows(rows):
    statistics = count(rows)
    labels = [0, 0, 0]
    for one in table_of(rows).to_pylist():
        sums = np.sum(np.array(one["video_probs"], np.float64).reshape(-1, 3), axis=0)
        if one["status"] == "labeled" and sums.any():
            labels[int(sums.argmax())] += 1
    assert statistics.video.spans.tolist() == labels


def _histograms(statistics):
    teachers = [statistics.video, *statistics.speech.values()]
    yield from (one.confidence for one in teachers)
    yield from (one.entropy_bits for one in teachers)
    yield from (statistics.speech_fraction, statistics.video_valid, statistics.face_size)


def test_the_faces_to_show_do_not_depend_on_the_order_of_rows():
    rows = [row(number) for number in np.random.default_rng(0).permutation(50).tolist()]
    one, other = count(rows, 7, n_faces=4), count(sorted(rows, key=lambda one: one["span_id"]), n_faces=4)
    ids = set(one.faces["span_id"].to_pylist())
    assert ids == set(other.faces["span_id"].to_pylist())
    assert len(ids) == 4


def test_no_row_is_kept_unless_faces_are_asked_for():
    assert count(ROWS).faces is None


def test_a_table_of_several_files_is_counted_whole(tmp_path):
    folders = write_job(tmp_path, ROWS, files=3)
    statistics = count_table(folders, VIDEO_LABELS, {"fold-0": SPEECH_LABELS})
    assert statistics.spans == len(ROWS)
    assert statistics.labels_by_class() == count(ROWS).labels_by_class()


def test_a_file_that_a_running_job_is_writing_does_not_count(tmp_path):
    folders = write_job(tmp_path, ROWS, files=2)
    (tmp_path / "checkpoint/0.parquet").touch()
    (tmp_path / "checkpoint/9.pending.parquet").touch()
    (tmp_path / "labels/9-0.parquet").write_bytes(b"PAR1 half of a")
    assert count_table(folders, VIDEO_LABELS, {"fold-0": SPEECH_LABELS}).spans == len(ROWS)


def test_the_sound_is_never_read(tmp_path):
    folders = write_job(tmp_path, [])
    pa.parquet.write_table(table_of(ROWS).drop_columns(["audio"]), tmp_path / "labels/0-0.parquet")
    assert count_table(folders, VIDEO_LABELS, {"fold-0": SPEECH_LABELS}).spans == len(ROWS)


def test_the_plan_tells_what_was_given(tmp_path):
    plan = count_plan(write_job(tmp_path, ROWS, to_go=3))
    assert (plan.spans, plan.seconds) == (10, 76.0 + 3 * 16.0)
    assert plan.recording_s.n == 10
    assert plan.recording_s.median == pytest.approx(16, rel=0.1)
