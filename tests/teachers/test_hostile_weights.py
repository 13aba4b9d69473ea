"""Weights that bring code along: of whatever kind they are, none of it runs, and the error says what is wrong."""

import io
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper
from peft import LoraConfig, get_peft_model
from small_teachers import SPEECH_LABELS, make_speech_base, make_teachers
from transformers import AutoModelForAudioClassification

from liser_ray.finetuning.config import LoraSettings
from liser_ray.finetuning.model import build_model
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.teacher import Teacher
from liser_ray.teachers.weights import load_plain
from liser_ray.training.checkpoint import loaded


def load(kind: str, *addresses: object) -> Teacher:
    """A teacher as the labeling job loads it."""
    (entry,) = read_teachers([f"one={kind}:{','.join(map(str, addresses))}"])
    return entry.load(torch.device("cpu"))


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture(params=["torch.save", "pickle"])
def harm(request, tmp_path):
    """Writes a file that does harm when it is unpickled; at the end there must be none."""
    target = tmp_path / "made"

    def write(path: Path) -> str:
        if request.param == "pickle":
            path.write_bytes(pickle.dumps(Harmful(target), protocol=2))
        else:
            torch.save({"model": {"a": torch.ones(1)}, "x": Harmful(target)}, path)
        return str(path)

    yield write
    assert not target.exists()


@pytest.fixture
def teachers(tmp_path):
    (tmp_path / "teachers").mkdir()
    return make_teachers(tmp_path / "teachers")


def test_s2d_and_its_landmark_network(harm, teachers, tmp_path):
    bad = harm(tmp_path / "bad.pth.tar")
    for weights in ((bad, teachers.landmarks), (teachers.s2d, bad)):
        with pytest.raises(UserError, match=r"bad\.pth\.tar .* could run code"):
            load("s2d", *weights)


def test_face_teacher(harm, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "resnet", "architectures": ["ResNetForImage"]}))
    harm(folder / "pytorch_model.bin")
    (tmp_path / "model.yaml").write_text("weights: model\nlabels: [a, b]\n")
    with pytest.raises(UserError, match=r"Can't load an image classifier .* could run code"):
        load("face", tmp_path / "model.yaml")


def test_speech_teacher(harm, teachers):
    folder = Path(teachers.speech).parent / "fold-0"
    (folder / "model.safetensors").unlink()
    harm(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"Can't load a speech model .* could run code"):
        load("speech", folder)


def test_adapter_of_a_speech_teacher(harm, tmp_path):
    base = make_speech_base(tmp_path / "base")
    model = AutoModelForAudioClassification.from_pretrained(base, num_labels=4)
    adapter = tmp_path / "adapter"
    modules = ["projector", "classifier"]
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], modules_to_save=modules)).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    (adapter / "labels.json").write_text(json.dumps(SPEECH_LABELS))
    assert load("speech", adapter).targets
    (adapter / "adapter_model.safetensors").unlink()
    harm(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match=r"Can't read the adapter .* could run code"):
        load("speech", adapter)


def test_base_of_fine_tuning(harm, tmp_path):
    base = make_speech_base(tmp_path / "base")
    (base / "model.safetensors").unlink()
    harm(base / "pytorch_model.bin")
    with pytest.raises(UserError, match="could run code"):
        build_model(base, 3, LoraSettings(rank=2), 0, torch.device("cpu"))


def test_state_to_go_on_from(harm, tmp_path):
    """Of fine-tuning, and of students and trials."""
    path = harm(tmp_path / "state.pt")
    with pytest.raises(UserError, match="could run code"):
        load_plain(Path(path))
    with pytest.raises(UserError, match="could run code"):
        loaded(Path(path).read_bytes())
    buffer = io.BytesIO()
    torch.save({"epoch": 3, "weights": {"a": torch.ones(2)}, "name": "x"}, buffer)
    assert loaded(buffer.getvalue())["epoch"] == 3


@pytest.mark.parametrize("place", ["../secret.bin", "absolute"])
def test_an_onnx_network_reads_no_file_outside_of_its_folder(tmp_path, place):
    (tmp_path / "model").mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(16))
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=str(secret) if place == "absolute" else place)
    frames, sums = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("frames", "sums"))
    graph = helper.make_graph([helper.make_node("Add", ["frames", "w"], ["sums"])], "g", [frames], [sums], [tensor])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "model/a.onnx").write_bytes(network.SerializeToString())
    (tmp_path / "model.yaml").write_text("weights: model/a.onnx\nlabels: [a, b]\n")
    with pytest.raises(UserError, match=r"a\.onnx is no ONNX file that onnxruntime can run"):
        load("face", tmp_path / "model.yaml")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_in_a_model_folder_is_neither_run_nor_asked_about(teachers, tmp_path, file, monkeypatch):
    def asked(*_):
        raise AssertionError("a question on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    folder = Path(teachers.speech).parent / "fold-0"
    (folder / "own.py").write_text(
        f"import os\nos.mkdir({str(tmp_path / 'made')!r})\n"
        "from transformers import HubertConfig as C, HubertForSequenceClassification as M\n"
        "from transformers import Wav2Vec2FeatureExtractor as E\n"
    )
    own = {"AutoConfig": "own.C", "AutoModelForAudioClassification": "own.M", "AutoFeatureExtractor": "own.E"}
    content = json.loads((folder / file).read_text()) | {"auto_map": own}
    for kind in ("model_type", "feature_extractor_type"):
        if kind in content:
            content[kind] = "own"
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"custom code|trust_remote_code"):
        load("speech", folder)
    assert not (tmp_path / "made").exists()
