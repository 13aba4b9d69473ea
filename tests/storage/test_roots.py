"""Where recordings may lie, and the tricks to reach others."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from media_files import moving_gradient, voice_like, write_video

from liser_ray.corpora.config import PlanConfig
from liser_ray.corpora.plan import make_plan, replan_failed
from liser_ray.corpora.recordings import list_recordings
from liser_ray.media import source
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.storage.roots import open_local, refusal, roots_of


@pytest.fixture
def videos(tmp_path):
    """A folder with a good recording, links out of it, and what they lead to."""
    for name in ("videos/a.mp4", "videos-private/b.mp4", "elsewhere/c.mp4"):
        (tmp_path / name).parent.mkdir()
        write_video(tmp_path / name, moving_gradient, 30, duration_s=1, audio=voice_like)
    (tmp_path / "videos/inner.mp4").symlink_to("a.mp4")
    (tmp_path / "videos/link.mp4").symlink_to("../videos-private/b.mp4")
    (tmp_path / "videos/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/notes.txt").symlink_to("/etc/hostname")
    return tmp_path / "videos"


def test_local_roots_are_not_fooled(tmp_path, videos):
    roots = roots_of(f"{videos}/")
    assert roots == (str(videos),)
    inside = ["", "/a.mp4", "//a.mp4", "/none.mp4", "/x/../a.mp4", "/inner.mp4", "/../videos/a.mp4"]
    outside = ["-private/b.mp4", "/../videos-private/b.mp4", "/link.mp4", "/more/c.mp4", "/more/../a.mp4", "/.."]
    assert [refusal(f"{videos}{path}", roots) for path in inside] == [None] * len(inside)
    for path in outside:
        assert "--plan.allowed_roots" in refusal(f"{videos}{path}", roots), path
    assert refusal("/etc/passwd", ("/",)) is None
    (tmp_path / "named").symlink_to(videos)
    assert refusal(str(videos / "a.mp4"), (str(tmp_path / "named"),)) is None


def test_s3_roots_are_not_fooled():
    assert roots_of("/lists/m.csv") == roots_of("s3://bucket/videos") == ()  # a manifest may name anything
    roots = roots_of("/lists/m.csv", ["s3://bucket/videos/"])
    inside = ["s3://bucket/videos/a.mp4", "s3://bucket/videos/..a/b.mp4", "s3://bucket/videos//a.mp4"]
    outside = [
        "s3://bucket/videos-private/a.mp4",
        "s3://bucket/videos/../private/a.mp4",
        "s3://bucket/videos/./a.mp4",
        "s3://bucket//videos/a.mp4",
        "s3://bucket2/videos/a.mp4",
        "/videos/a.mp4",
    ]
    assert [refusal(uri, roots) for uri in inside] == [None] * len(inside)
    assert all(refusal(uri, roots) for uri in outside)
    assert refusal("s3://bucket/any/key.mp4", ("s3://bucket",)) is None
    assert refusal("s3://bucket2/any/key.mp4", ("s3://bucket",))


def test_a_link_that_leads_out_of_the_folder_is_a_denied_row(videos, tmp_path):
    def planned(**settings):
        output = str(tmp_path / f"out{len(settings)}")
        make_plan(str(videos), output, PlanConfig(probe_workers=1, **settings))
        rows = pq.read_table(f"{output}/plan").to_pylist()
        return {row["uri"].removeprefix(f"{videos}/"): (row["reason"], row["detail"]) for row in rows}

    found = planned()
    reasons = {name: reason for name, (reason, _) in found.items()}
    assert reasons == {"a.mp4": "", "inner.mp4": "", "link.mp4": "denied", "more/": "denied"}
    assert f"leads to {tmp_path}/videos-private/b.mp4" in found["link.mp4"][1]
    assert "--plan.allowed_roots" in found["link.mp4"][1]
    assert f"leads to {tmp_path}/elsewhere" in found["more/"][1]
    named = planned(allowed_roots=[str(tmp_path / "videos-private"), str(tmp_path / "elsewhere")])
    assert {name: reason for name, (reason, _) in named.items()} == dict.fromkeys(
        ("a.mp4", "inner.mp4", "link.mp4", "more/c.mp4"), ""
    )


def test_a_manifests_rows_outside_are_denied_until_their_root_is_named(videos, tmp_path):
    names = ["a.mp4", "../elsewhere/c.mp4", "link.mp4", "s3://bucket/a.mp4", "../elsewhere/none.mp4"]
    pq.write_table(pa.table({"uri": names}), videos / "m.parquet")
    output = str(tmp_path / "out")
    summary = make_plan(str(videos / "m.parquet"), output, PlanConfig(probe_workers=1, allowed_roots=[str(videos)]))
    assert (summary.spans_to_label, summary.failed) == (1, {"denied": 4})
    roots = [str(videos), str(tmp_path / "elsewhere")]
    assert replan_failed(output, {Reason.DENIED}, PlanConfig(allowed_roots=roots)).failed == {"denied": 2, "missing": 1}
    assert replan_failed(output).config.allowed_roots == roots


def test_what_became_a_link_after_the_plan_is_not_opened(videos, tmp_path):
    roots = roots_of(str(videos))
    (recording,) = (one for one in list_recordings(str(videos), roots=roots).recordings if one.uri.endswith("/a.mp4"))
    with Reader(recording.uri, roots=roots) as reader:
        assert reader.header.has_video
    (videos / "a.mp4").unlink()
    (videos / "a.mp4").symlink_to(tmp_path / "elsewhere/c.mp4")
    with pytest.raises(MediaError, match=r"Reason\.DENIED"):
        Reader(recording.uri, roots=roots)
    with pytest.raises(MediaError, match=r"Reason\.DENIED"):
        source.Source("s3://bucket/a.mp4", roots)


def test_a_link_that_changes_between_check_and_opening_opens_nothing(videos, tmp_path, monkeypatch):
    """However often the name is looked at: what counts is where the opened file lies."""
    path = str(videos / "a.mp4")

    def swap_and_open(name, *arguments):
        if name == path:
            os.unlink(path)
            os.symlink(tmp_path / "elsewhere/c.mp4", path)
        return real_open(name, *arguments)

    real_open = os.open
    monkeypatch.setattr(os, "open", swap_and_open)
    with pytest.raises(PermissionError, match="lies outside"):
        open_local(path, (str(videos),))
