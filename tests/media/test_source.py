"""Ranged reads: a store's recording is the file's, and its refusals have their reasons."""

import numpy as np
import pytest
from media_files import write_moving

from liser_ray.media import source
from liser_ray.media.outcome import MediaError, Reason
from liser_ray.media.reader import Reader
from liser_ray.media.source import Source


def test_reads_and_seeks_like_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "LOCAL_BLOCK_BYTES", 1000)
    monkeypatch.setattr(source, "_HEADER_PIECES", 100)
    data = np.random.default_rng(0).bytes(30_500)
    (tmp_path / "a").write_bytes(data)
    rng = np.random.default_rng(1)
    opened = Source(str(tmp_path / "a"))
    with open(tmp_path / "a", "rb") as file:
        for _ in range(300):
            start = int(rng.integers(0, 31_000))
            opened.in_header = bool(rng.integers(0, 2))
            assert opened.seek(start) == start
            file.seek(start)
            want = file.read(1700)
            got = b""
            while part := opened.read(1700 - len(got)):
                got += part
            assert got == want
    assert opened.seek(-5, 2) == 30_495
    opened.release()


@pytest.mark.parametrize(("every_bytes", "most_requests"), [(300_000, 160), (60_000, 40)])
def test_a_header_all_over_the_file_costs_little_and_only_once(tmp_path, monkeypatch, every_bytes, most_requests):
    data = np.random.default_rng(0).bytes(150 * every_bytes)
    (tmp_path / "a").write_bytes(data)
    requests = []
    read_exactly = source.read_exactly
    monkeypatch.setattr(source, "read_exactly", lambda *what: requests.append(what[2]) or read_exactly(*what))
    opened = Source(str(tmp_path / "a"))
    opened.in_header = True
    for _ in range(2):
        for start in range(0, len(data), every_bytes):
            opened.seek(start)
            found = b""
            while len(found) < 2000:
                found += opened.read(64 << 10)
            assert data.startswith(found, start)
        assert len(requests) <= most_requests
        assert sum(requests) <= 10_000_000
    opened.release()


@pytest.mark.slow
def test_s3_gives_the_same_as_a_file(tmp_path, s3_store, monkeypatch):
    path = write_moving(tmp_path / "a.mp4", 4, 25)
    bucket, store = s3_store.bucket(), s3_store.client
    store.upload_file(str(path), bucket, "folder/a b.mp4")
    store.put_object(Bucket=bucket, Key="empty.mp4", Body=b"")
    found = []
    for uri in (str(path), f"s3://{bucket}/folder/a b.mp4"):
        with Reader(uri) as reader:
            stream = reader.span(1, 3)
            found.append(([(f.first_cell, f.rgb().tobytes()) for f in stream], stream.pcm().tobytes(), reader.header))
    assert found[0] == found[1]
    for key, reason in [("none.mp4", Reason.MISSING), ("empty.mp4", Reason.EMPTY)]:
        with pytest.raises(MediaError, match=reason.name):
            Reader(f"s3://{bucket}/{key}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(MediaError, match=r"Reason\.DENIED"):
        Reader(f"s3://{bucket}/folder/a b.mp4")
