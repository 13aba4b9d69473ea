from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import moving_gradient, voice_like, write_video

from liser_ray.calibration.config import CalibrateConfig
from liser_ray.calibration.sample import draw_sample, evenly, shares
from liser_ray.corpora.config import PlanConfig
from liser_ray.runtime.errors import UserError


@given(length=st.integers(1, 200), count=st.integers(1, 50))
def test_items_are_drawn_evenly_and_once(length, count):
    drawn = evenly(range(length), count)
    assert len(drawn) == min(length, count) == len(set(drawn))
    assert drawn == sorted(drawn)
    gaps = [after - before for before, after in pairwise(drawn)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(available=st.lists(st.integers(1, 30), min_size=1, max_size=20), count=st.integers(1, 100))
def test_recordings_give_as_equally_as_they_can(available, count):
    given_ = shares(available, count)
    assert sum(given_) == min(count, sum(available))
    assert all(one <= most for one, most in zip(given_, available, strict=True))
    could_give_more = [one for one, most in zip(given_, available, strict=True) if one < most]
    assert not could_give_more or max(given_) - min(could_give_more) <= 1


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Recordings of 5, 1 and 1 spans, and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for name, seconds in (("long", 10.0), ("one", 1.5), ("two", 2.0)):
        write_video(folder / f"{name}.mp4", moving_gradient, 10, duration_s=seconds, audio=voice_like)
    (folder / "text.mp4").write_text("no video")
    return folder


def test_spans_are_from_all_recordings_and_the_same_ones_each_time(videos, tmp_path):
    config = CalibrateConfig(
        input=str(videos), output=str(tmp_path), spans=4, plan=PlanConfig(span_seconds=2.0, probe_workers=1)
    )
    sample = draw_sample(config)
    assert Counter(span.uri.rpartition("/")[2] for span in sample.spans) == {"long.mp4": 2, "one.mp4": 1, "two.mp4": 1}
    assert sample.recordings == 3
    assert sample.unusable == {"not_media": 1}
    assert {span.start_s for span in sample.spans if span.uri.endswith("long.mp4")} == {2.0, 6.0}
    assert draw_sample(config) == sample


def test_an_input_without_any_span_is_refused_with_the_reasons(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_text("no video")
    config = CalibrateConfig(input=str(tmp_path), output=str(tmp_path / "out"), plan=PlanConfig(probe_workers=1))
    with pytest.raises(UserError, match=r"None of 3 recordings .* not_media 3"):
        draw_sample(config)
