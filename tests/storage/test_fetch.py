"""Files and folders by address: paths, S3, the hub."""

import hashlib
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import fetch, sha256


@pytest.fixture
def bucket(s3_store, tmp_path, monkeypatch):
    """Name of a bucket, while the cache lies in the temporary folder."""
    monkeypatch.setenv("LISER_CACHE", str(tmp_path / "cache"))
    return s3_store.bucket()


@pytest.fixture
def put(s3_store, bucket):
    return lambda key, data: s3_store.client.put_object(Bucket=bucket, Key=key, Body=data)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face cache and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_local_path_is_itself_and_what_is_no_address_says_the_next_step(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"x")
    assert fetch(str(tmp_path / "a.pth")) == fetch(f"file://{tmp_path}/a.pth") == tmp_path / "a.pth"
    for uri, words in [
        (f"{tmp_path}/b.pth", r"b\.pth does not exist\. Get it there\.$"),
        ("", r"^No weights given\. Get it there\.$"),
        ("ftp://host/a.pth", "can't read this kind of address"),
        ("hf://name", "give hf://owner/name"),
    ]:
        with pytest.raises(UserError, match=words):
            fetch(uri, hint="Get it there.")


def test_an_object_is_fetched_once_and_again_when_it_changes(bucket, put):
    put("a.pth", b"one")
    first = fetch(f"s3://{bucket}/a.pth")
    assert (first.name, first.read_bytes()) == ("a.pth", b"one")
    written = first.stat().st_mtime_ns
    assert fetch(f"s3://{bucket}/a.pth").stat().st_mtime_ns == written
    put("a.pth", b"another")
    assert fetch(f"s3://{bucket}/a.pth").read_bytes() == b"another"


def test_what_the_store_breaks_off_is_copied_again(bucket, put, monkeypatch):
    put("large.pth", bytes(3000))
    honest, cut_off = shutil.copyfileobj, [True, True]

    def copy(source, sink, length):
        if cut_off:
            cut_off.pop()
            sink.write(source.read(1000))  # to pyarrow this is the end of the file
        else:
            honest(source, sink, length)

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    assert fetch(f"s3://{bucket}/large.pth").read_bytes() == bytes(3000)
    assert not cut_off


def test_a_prefix_becomes_a_folder(bucket, put):
    put("model/config.json", b"{}")
    put("model/deep/w.bin", b"w")
    put("model2/other", b"?")
    folder = fetch(f"s3://{bucket}/model/")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")) == ["config.json", "deep", "deep/w.bin"]
    assert fetch(f"s3://{bucket}/model") == folder
    assert not list(folder.parent.glob("*.tmp"))


@pytest.mark.parametrize("key", ["/none.pth", "-of-nobody/a.pth"])
def test_an_object_that_is_not_there_is_an_error_and_leaves_nothing(bucket, tmp_path, key):
    with pytest.raises(UserError, match=r"s3://.*Put it there\.$"):
        fetch(f"s3://{bucket}{key}", hint="Put it there.")
    assert not (tmp_path / "cache").exists()


def test_the_hubs_cache_serves_files_and_whole_models_without_network(hub_cache):
    revision = "0" * 40
    snapshot = hub_cache / "models--owner--name" / "snapshots" / revision
    (snapshot / "sub").mkdir(parents=True)
    (snapshot / "sub" / "w.pth").write_bytes(b"w")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(revision)
    assert fetch("hf://owner/name/sub/w.pth").read_bytes() == b"w"
    assert fetch(f"hf://owner/name@{revision}/sub/w.pth").read_bytes() == b"w"
    assert fetch("hf://owner/name") == snapshot


@pytest.mark.parametrize("uri", ["hf://owner/name/w.pth", "hf://owner/name"])
def test_a_hub_out_of_reach_says_how_to_do_without(hub_cache, uri):
    with pytest.raises(UserError, match=r"(?s)hf download owner/name.*Put it there\."):
        fetch(uri, hint="Put it there.")


def test_hash_of_a_file_is_sha256sums_and_of_a_folder_sees_names_and_bytes_but_no_hidden_files(tmp_path):
    def folder(name: str, files: dict[str, bytes]) -> str:
        for file, data in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(data)
        return sha256(tmp_path / name)

    one = folder("one", {"a": b"1", "b/c": b"2"})
    assert sha256(tmp_path / "one/a") == hashlib.sha256(b"1").hexdigest()
    assert one == folder("same", {"b/c": b"2", "a": b"1", ".git/x": b"?", ".gitattributes": b"?"})
    assert one != folder("renamed", {"a": b"1", "b/d": b"2"})
    assert one != folder("changed", {"a": b"1", "b/c": b"3"})
