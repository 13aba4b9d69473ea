"""Weights by address, and files that must load, must not load, or must not run."""

import argparse
import hashlib
import os
import pickle
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from liser_ray.errors import UserError
from liser_ray.teachers.mobilefacenet import MobileFaceNet, new_mobilefacenet
from liser_ray.teachers.weights import fetch, load_strictly, read_checkpoint, save_checkpoint, sha256


@pytest.fixture
def bucket(s3_store, tmp_path, monkeypatch) -> "Bucket":
    monkeypatch.setenv("LISER_CACHE", str(tmp_path / "cache"))
    return Bucket(s3_store.client, s3_store.bucket())


class Bucket:
    def __init__(self, client, name: str):
        self.client = client
        self.uri = f"s3://{name}"
        self.name = name

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face cache and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_local_path_is_itself(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"x")
    assert fetch(str(tmp_path / "a.pth")) == tmp_path / "a.pth"
    assert fetch(f"file://{tmp_path}/a.pth") == tmp_path / "a.pth"


def test_what_is_missing_is_named_with_the_next_step(tmp_path):
    with pytest.raises(UserError, match=r"a\.pth does not exist\. Get it there\.$"):
        fetch(str(tmp_path / "a.pth"), hint="Get it there.")
    with pytest.raises(UserError, match=r"^No weights given\. Get it there\.$"):
        fetch("", hint="Get it there.")
    with pytest.raises(UserError, match="can't read this kind of address"):
        fetch("ftp://host/a.pth")


def test_an_object_is_fetched_once_and_again_when_it_changes(bucket):
    bucket.put("a.pth", b"one")
    first = fetch(f"{bucket.uri}/a.pth")
    assert first.read_bytes() == b"one"
    assert first.name == "a.pth"
    written = first.stat().st_mtime_ns
    assert fetch(f"{bucket.uri}/a.pth").stat().st_mtime_ns == written
    bucket.put("a.pth", b"another")
    assert fetch(f"{bucket.uri}/a.pth").read_bytes() == b"another"


def test_a_prefix_becomes_a_folder(bucket):
    bucket.put("model/config.json", b"{}")
    bucket.put("model/deep/w.bin", b"w")
    bucket.put("model2/other", b"?")
    folder = fetch(f"{bucket.uri}/model/")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")) == ["config.json", "deep", "deep/w.bin"]
    assert fetch(f"{bucket.uri}/model") == folder
    assert not list(folder.parent.glob("*.tmp"))


@pytest.mark.parametrize("key", ["/none.pth", "-of-nobody/a.pth"])
def test_an_object_that_is_not_there_is_an_error_and_leaves_nothing(bucket, tmp_path, key):
    with pytest.raises(UserError, match=r"s3://.*Put it there\.$"):
        fetch(bucket.uri + key, hint="Put it there.")
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


def test_a_hub_address_without_a_repository_is_an_error():
    with pytest.raises(UserError, match="give hf://owner/name"):
        fetch("hf://name")


def test_hash_of_a_file_is_the_one_sha256sum_prints(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_hash_of_a_folder_sees_names_and_bytes_but_no_hidden_files(tmp_path):
    def folder(name: str, files: dict[str, bytes]) -> str:
        for file, data in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(data)
        return sha256(tmp_path / name)

    one = folder("one", {"a": b"1", "b/c": b"2"})
    assert one == folder("same", {"b/c": b"2", "a": b"1", ".git/x": b"?", ".gitattributes": b"?"})
    assert one != folder("renamed", {"a": b"1", "b/d": b"2"})
    assert one != folder("changed", {"a": b"1", "b/c": b"3"})


def test_the_published_layout_loads_with_its_command_line_record(tmp_path):
    tensors = {"a.weight": torch.arange(3.0), "n": torch.tensor(2)}
    content = {"model": tensors, "optimizer": None, "epoch": 3, "args": argparse.Namespace(lr=0.1, path="x")}
    torch.save(content, tmp_path / "best.pth")
    loaded = read_checkpoint(tmp_path / "best.pth").tensors
    assert {key: tensor.tolist() for key, tensor in loaded.items()} == {"a.weight": [0.0, 1.0, 2.0], "n": 2}


@pytest.mark.parametrize("container", ["state_dict", "module", None])
@pytest.mark.parametrize("zipped", [True, False])
def test_other_layouts_of_pytorch_files(tmp_path, container, zipped):
    tensors = {"module.a": torch.ones(1), "module.landmark_net.b": torch.ones(1)}
    content = {container: tensors} if container else tensors
    torch.save(content, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=zipped)
    assert list(read_checkpoint(tmp_path / "x.pth.tar").tensors) == ["a"]


def test_a_prefix_that_only_some_keys_have_stays(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x.pth")
    assert list(read_checkpoint(tmp_path / "x.pth").tensors) == ["module.a", "b"]


class Harmful:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_code_in_a_file_is_not_run(tmp_path):
    target = tmp_path / "made"
    torch.save({"model": {"a": torch.ones(1)}, "args": Harmful(target)}, tmp_path / "x.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Harmful(target), protocol=2))
    for name in ("x.pth", "raw.pth"):
        with pytest.raises(UserError, match="can't be loaded as weights alone"):
            read_checkpoint(tmp_path / name)
    assert not target.exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("data", [b"", b"<html>not found</html>" * 9, b"\x80\x02}q\x00."])
def test_a_file_that_is_no_checkpoint_is_an_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=name):
        read_checkpoint(tmp_path / name)


def test_a_truncated_checkpoint_is_an_error(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "x.pth")
    save_checkpoint(tmp_path / "x.safetensors", {"a": torch.ones(1000)})
    for path in (tmp_path / "x.pth", tmp_path / "x.safetensors"):
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(UserError, match=path.name):
            read_checkpoint(path)


def test_a_folder_or_no_state_dict_is_an_error(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)
    torch.save([torch.ones(1)], tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_checkpoint(tmp_path / "x.pth")


def test_the_landmark_network_loads_strictly_in_half_precision_too(tmp_path):
    network = new_mobilefacenet(seed=0)
    assert len(network.state_dict()) == 333
    half = {key: t.half() if t.is_floating_point() else t for key, t in network.state_dict().items()}
    torch.save({"state_dict": half}, tmp_path / "landmark.pth.tar")
    checkpoint = read_checkpoint(tmp_path / "landmark.pth.tar")
    with torch.device("meta"):
        empty = MobileFaceNet()
    loaded = load_strictly(empty, checkpoint, "the landmark network")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.parameters())
    del checkpoint.tensors["conv1.prelu.weight"]
    checkpoint.tensors["conv1.bn.bias"] = torch.zeros(3)
    with pytest.raises(UserError) as caught:
        load_strictly(MobileFaceNet(), checkpoint, "the landmark network")
    assert "1 missing: conv1.prelu.weight" in str(caught.value)
    assert "1 of another shape: conv1.bn.bias (3,) instead of (64,)" in str(caught.value)


def test_metadata_travels_with_safetensors_and_no_temporary_file_stays(tmp_path):
    save_checkpoint(tmp_path / "new" / "x.safetensors", {"a": torch.ones(2, 3).t()}, {"labels": "[]"})
    checkpoint = read_checkpoint(tmp_path / "new" / "x.safetensors")
    assert checkpoint.metadata == {"labels": "[]"}
    assert checkpoint.tensors["a"].shape == (3, 2)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.safetensors"]
