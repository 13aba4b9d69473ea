"""Files that must or must not load; those with code in them are in test_hostile_weights.py."""

import argparse

import pytest
import torch

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.mobilefacenet import MobileFaceNet, new_mobilefacenet
from liser_ray.teachers.weights import load_strictly, read_checkpoint, save_checkpoint


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


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("data", [b"", b"<html>not found</html>" * 9, b"\x80\x02}q\x00."])
def test_a_file_that_is_no_checkpoint_is_an_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=name):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_truncated_checkpoint_is_an_error(tmp_path, name):
    save = torch.save if name == "x.pth" else lambda tensors, path: save_checkpoint(path, tensors)
    save({"a": torch.ones(1000)}, tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:2000])
    with pytest.raises(UserError, match=name):
        read_checkpoint(tmp_path / name)


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
