import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from liser_ray.corpora.spans import cut, expected_output_bytes, recording_id

durations_s = st.floats(min_value=1e-6, max_value=5_000, allow_nan=False)
repeatable = settings(derandomize=True, deadline=None, max_examples=50)
span_lengths_s = st.sampled_from([0.6, 1.0, 3.2, 8.0, 16.0, 16.1])


def spans_of(duration_s, span_seconds=16.0, identity="r"):
    return list(cut(identity, duration_s, span_seconds))


@repeatable
@given(durations_s, span_lengths_s)
@example(16.0, 16.0)
@example(16.0001, 16.0)
@example(31.999999, 16.0)
@example(32.0, 16.0)
@example(0.3 * 3, 0.6)
@example(7_200.0, 0.6)
def test_spans_cover_the_recording_without_gap_or_overlap(duration_s, span_seconds):
    spans = spans_of(duration_s, span_seconds)
    assert spans[0].start_s == 0
    assert abs(spans[-1].end_s - duration_s) <= 1e-6
    for span, following in pairwise(spans):
        assert span.end_s == following.start_s
        assert abs(span.end_s - span.start_s - span_seconds) < 1e-9
    assert 0 < spans[-1].end_s - spans[-1].start_s <= span_seconds + 1e-9
    assert (len(spans) == 1) == (duration_s < span_seconds + 5e-7)
    assert len({span.span_id for span in spans}) == len(spans)


def test_only_what_is_shorter_than_16_frames_is_too_short():
    assert [span.too_short for span in spans_of(16.5)] == [False, True]
    assert [span.too_short for span in spans_of(16 + 0.533334)] == [False, False]
    assert [span.too_short for span in spans_of(0.533333)] == [True]
    assert [span.too_short for span in spans_of(16.0)] == [False]


def test_ids_depend_on_address_size_version_and_length():
    facts = [("/a.mp4", 10, "1"), ("/b.mp4", 10, "1"), ("/a.mp4", 11, "1"), ("/a.mp4", 10, "2"), ("/a.mp4", 1, "01")]
    ids = {recording_id(*one) for one in facts} | {spans_of(40.0, length)[0].span_id for length in (8.0, 16.0)}
    assert len(ids) == 7
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


def test_ids_stay_what_they_are_from_release_to_release():
    identity = recording_id("s3://bucket/video.mp4", 1234, "etag")
    assert identity == "29d3570a0d05f1fd1eb70ffdc0063f8e"
    assert [span.span_id for span in cut(identity, 20.0, 16.0)] == [
        "050db4d874ade0cc8d3164a211798adc",
        "83b87372959b38e331e1ba67b714d693",
    ]


def test_expected_size_grows_with_teachers():
    assert 60e6 < expected_output_bytes(3600, teachers=2) < 70e6
    assert expected_output_bytes(3600, teachers=5) > expected_output_bytes(3600, teachers=1)


def test_spans_end_where_times_jump():
    spans = list(cut("r", 40.0, 16.0, (5.0, 37.5)))
    assert [(span.start_s, span.end_s) for span in spans] == [(0, 5), (5, 21), (21, 37), (37, 37.5), (37.5, 40)]
    assert [span.too_short for span in spans] == [False, False, False, True, False]
