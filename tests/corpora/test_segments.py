from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.corpora.segments import Segment, seconds
from liser_ray.media.outcome import MediaError


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("2", 2.0),
        (" 2.5 ", 2.5),
        ("2,5", 2.5),
        (".25", 0.25),
        ("1e-1", 0.1),
        ("0 days 00:00:02", 2.0),
        ("0 days 00:00:02.500000", 2.5),
        ("0 days", 0.0),
        ("1 day, 0:00:01", 86_401.0),
        ("00:16:16,059", 976.059),
        ("1:02:03.25", 3_723.25),
        ("75:30", 4_530.0),
        ("", None),
        ("NaT", None),
        ("nan", None),
        (None, None),
        (float("nan"), None),
        (3, 3.0),
        (Decimal("1.250"), 1.25),
        (timedelta(seconds=1.5), 1.5),
    ],
)
def test_times_as_lists_write_them(text, expected_s):
    assert seconds(text) == expected_s


@pytest.mark.parametrize(
    "text", ["-1", "soon", "1 2", "1:2:3:4", "1;2", "-1 days +23:59:58", -0.5, True, float("inf"), []]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        seconds(text)


@given(st.integers(0, 10**12))
def test_every_microsecond_is_the_same_in_all_its_forms(microseconds):
    time = timedelta(microseconds=microseconds)
    hours, rest = divmod(microseconds, 3_600_000_000)
    minutes, rest = divmod(rest, 60_000_000)
    forms = [
        time,
        str(time),
        f"{microseconds / 1e6:.6f}",
        f"{hours}:{minutes:02}:{rest / 1e6:09.6f}",
        f"{time.days} days {str(time).rpartition(' ')[2]}",
    ]
    assert {seconds(form) for form in forms} == {microseconds / 1e6}


@given(st.floats(0, 100), st.none() | st.floats(0, 100), st.floats(0.001, 100))
def test_a_segment_lies_in_its_file_or_is_refused(start_s, end_s, file_s):
    is_outside = start_s >= file_s or (end_s is not None and (end_s <= start_s or end_s > file_s + 0.1))
    if is_outside:
        with pytest.raises(MediaError, match="a segment from"):
            Segment(start_s, end_s).within(file_s)
        return
    found = Segment(start_s, end_s).within(file_s)
    assert 0 <= found[0] < found[1] <= file_s
    assert found[0] == start_s
    assert found[1] == pytest.approx(file_s if end_s is None else end_s, abs=0.1001)
