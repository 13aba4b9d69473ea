"""Weights by name: their published addresses, what is said of them at first use, and files that change."""

import hashlib
import json
import types

import huggingface_hub
import pytest
import torch
from local_http import LocalServer, QuietHandler
from small_teachers import make_speech_base, make_teachers

from liser_ray.runtime.errors import UserError
from liser_ray.storage import fetch as fetching
from liser_ray.teachers import known
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.known import KnownWeights, check_known, known_weights

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LISER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def published(monkeypatch):
    """Puts an entry in place of the list's."""

    def put(name, address, kinds=("speech",), **more):
        one = KnownWeights(name, kinds, str(address), "Apache-2.0", "https://page", **more)
        monkeypatch.setattr(known, "known_weights", lambda: {name: one})

    return put


def settings(*teachers, **more):
    return {one.name: one.settings for one in read_teachers(list(teachers), **more)}


class TestNames:
    def test_the_list_names_kinds_that_there_are_and_addresses_that_can_be_fetched(self):
        for one in known_weights().values():
            for kind in one.kinds:
                (entry,) = read_teachers([f"x={kind}:{one.name}"])
                assert one.address in entry.settings.values()
            assert one.address.startswith(("hf://", "https://"))
            assert one.licence
            assert one.page.startswith("https://")
            assert set(one.beside.values()) <= known_weights().keys()

    def test_a_name_brings_what_goes_with_it(self):
        found = settings("a=s2d:ferv39k", "b=s2d:ferv39k,mine.pth", "c=s2d:mine.pth,mobilefacenet", "d=speech:odyssey")
        landmarks = known_weights()["mobilefacenet"].address
        assert [found["a"][name] for name in ("weights", "landmark_weights")] == ["hf://cyinen/S2D", landmarks]
        assert [found["b"][name] for name in ("weights", "landmark_weights")] == ["hf://cyinen/S2D", "mine.pth"]
        assert [found["c"][name] for name in ("weights", "landmark_weights")] == ["mine.pth", landmarks]
        assert found["d"]["weights"] == "hf://3loi/SER-Odyssey-Baseline-WavLM-Categorical"

    def test_a_file_that_is_called_so_goes_first_and_a_name_of_another_kind_is_none(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "odyssey").mkdir()
        found = settings("a=speech:odyssey", "b=speech:ferv39k")
        assert [one["weights"] for one in found.values()] == ["odyssey", "ferv39k"]


class TestFirstUse:
    def test_licence_and_hash_are_printed_once_and_remembered(self, published, tmp_path, cache, caplog):
        base = make_speech_base(tmp_path / "model")
        published("small", base)
        (entry,) = read_teachers(["speech=speech:small"])
        with pytest.raises(UserError, match="labels"):  # a base gives none
            entry.load(CPU)
        digest = fetching.sha256(base)
        assert f"First use of {base}: licence Apache-2.0 (https://page), SHA-256 {digest}" in caplog.text
        caplog.clear()
        check_known(str(base))
        assert caplog.text == ""
        assert json.loads((cache / "known_weights.json").read_text()) == {str(base): digest}

    def test_other_bytes_at_a_later_use_are_refused(self, published, tmp_path):
        (tmp_path / "w.pth").write_bytes(b"one")
        published("small", tmp_path / "w.pth")
        check_known(str(tmp_path / "w.pth"))
        (tmp_path / "w.pth").write_bytes(b"two")
        with pytest.raises(UserError, match=r"not what it was at its first use here.*known_weights\.json"):
            check_known(str(tmp_path / "w.pth"))

    def test_a_damaged_memory_says_what_to_do(self, published, tmp_path, cache):
        (tmp_path / "w.pth").write_bytes(b"one")
        published("small", tmp_path / "w.pth")
        cache.mkdir()
        (cache / "known_weights.json").write_text("{")
        with pytest.raises(UserError, match=r"known_weights.json is damaged.*Delete it"):
            check_known(str(tmp_path / "w.pth"))

    def test_a_file_below_a_known_repository_counts_as_known_and_another_does_not(self, published, tmp_path, caplog):
        for name in ("repo", "repository"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "w.pth").write_bytes(b"w")
        published("small", tmp_path / "repo", choose="the one")
        check_known(str(tmp_path / "repository/w.pth"))
        assert caplog.text == ""
        check_known(str(tmp_path / "repo/w.pth"))
        assert "licence Apache-2.0" in caplog.text


class TestWhichFile:
    def test_files_of_the_repository_are_listed(self, monkeypatch):
        names = ["README.md", "ferv39k.pth", "dfew.pth"]
        about = types.SimpleNamespace(siblings=[types.SimpleNamespace(rfilename=name) for name in names])
        asked = []
        monkeypatch.setattr(huggingface_hub, "model_info", lambda repo, **how: asked.append(repo) or about)
        (entry,) = read_teachers(["face=s2d:ferv39k"])
        with pytest.raises(UserError) as refused:
            entry.load(CPU)
        assert asked == ["cyinen/S2D"]
        assert "Choose the checkpoint that was fine-tuned on FERV39k" in str(refused.value)
        assert "give hf://cyinen/S2D/FILE,mobilefacenet in place of ferv39k" in str(refused.value)
        assert str(refused.value).endswith("The files there: README.md, dfew.pth, ferv39k.pth")

    def test_without_a_network_the_page_is_named(self, monkeypatch):
        def unreachable(*_, **__):
            raise ConnectionError("no route")

        monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
        with pytest.raises(UserError, match=r"huggingface.co/cyinen/S2D.*can't be listed: the hub can't be"):
            check_known("hf://cyinen/S2D")


class Files(LocalServer):
    """Serves its content under any path but `/none`, and says that it is `longer` bytes more."""

    def __init__(self):
        super().__init__(_Handler)
        self.content, self.longer, self.asked = b"weights", 0, 0


class _Handler(QuietHandler):
    def serve(self):
        self.owner.asked += 1
        if self.path == "/none":
            self.answer(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.owner.content) + self.owner.longer))
        self.end_headers()
        self.wfile.write(self.owner.content)
        self.close_connection = True


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(fetching, "_WEB", "http://")
    with Files() as server:
        yield server


class TestWeb:
    def test_a_file_is_fetched_once_and_known_by_its_name_in_git(self, web, published, cache, caplog):
        address = f"{web.endpoint}/landmark/w.pth.tar"
        blob = hashlib.sha1(b"blob 7\0weights").hexdigest()
        published("small", address, git_blob=blob)
        check_known(address)
        path = fetching.fetch(address)
        assert (path.name, path.read_bytes(), web.asked) == ("w.pth.tar", b"weights", 1)
        assert path.is_relative_to(cache)
        assert hashlib.sha256(b"weights").hexdigest() in caplog.text
        path.write_bytes(b"other")
        with pytest.raises(UserError, match=rf"is not the published file: git calls it \w+, and not {blob}"):
            check_known(address)

    @pytest.mark.parametrize(("path", "longer", "words"), [("none", 0, "404"), ("w.pth", 3, "after 7 of 10 bytes")])
    def test_what_can_not_be_had_is_said_and_leaves_nothing(self, web, cache, path, longer, words):
        web.longer = longer
        with pytest.raises(UserError, match=rf"can't be fetched: .*{words}.*Download it where there is a network"):
            fetching.fetch(f"{web.endpoint}/{path}", "See there.")
        assert not [one for one in cache.rglob("*") if one.is_file()]


REMOTE = """\
import os
import torch
from transformers import PretrainedConfig, PreTrainedModel

os.makedirs({made!r}, exist_ok=True)

class OwnConfig(PretrainedConfig):
    model_type = "own-ser"
    def __init__(self, mean=0.0, std=1.0, **more):
        self.mean, self.std = mean, std
        super().__init__(**more)

class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(2, 3)
        self.post_init()
    def forward(self, x, mask):
        heard = (x * mask).sum(1) / mask.sum(1)
        return self.layer(torch.stack([heard, (x * x * mask).sum(1) / mask.sum(1)], 1))
"""


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder with a model that is nothing without its own code, and where that code leaves a trace."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text(REMOTE.format(made=str(tmp_path / "made")))
    config = {"model_type": "own-ser", "mean": 0.25, "std": 0.5, "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForAudioClassification": "own.OwnModel"}
    config["id2label"] = {str(k): label for k, label in enumerate(("Angry", "Sad", "Neutral"))}
    config["label2id"] = {label: k for k, label in enumerate(("Angry", "Sad", "Neutral"))}
    (folder / "config.json").write_text(json.dumps(config))
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    from safetensors.torch import save_file

    save_file({"layer.weight": weight, "layer.bias": torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})
    return folder


class TestRemoteCode:
    def test_it_does_not_run_by_itself(self, remote, tmp_path):
        (entry,) = read_teachers([f"speech=speech:{remote}"])
        with pytest.raises(UserError, match=r"custom code, which is not run.*say --trust_remote_code"):
            entry.load(CPU)
        assert not (tmp_path / "made").exists()

    def test_it_runs_where_it_is_trusted_with_a_warning_and_hears_sound_as_its_settings_say(self, remote, caplog):
        (entry,) = read_teachers([f"speech=speech:{remote}"], trust_remote_code=True)
        teacher = entry.load(CPU)
        assert "its own code runs, as --trust_remote_code says" in caplog.text
        assert teacher.targets[0].labels == ("angry", "sad", "neutral")
        windows = torch.full((2, 8000), 0.75)
        windows[1] = 0.25
        answer = teacher([one.numpy() for one in windows])["speech"].values
        expected = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).softmax(1)
        torch.testing.assert_close(torch.from_numpy(answer), expected, atol=1e-4, rtol=0)

    def test_a_classifier_to_evaluate_too(self, remote):
        import numpy as np

        from liser_ray.evaluation.classifiers import load_classifiers

        with pytest.raises(UserError, match="custom code"):
            load_classifiers(str(remote), 0.5)
        (one,) = load_classifiers(str(remote), 0.5, trust_remote_code=True)
        found, _ = one.answer(np.full(16_000, 0.75, np.float32))
        np.testing.assert_allclose(found, torch.tensor([1.0, 1.0, 0.0]).softmax(0), atol=1e-3)

    def test_other_kinds_and_models_without_code_do_not_mind(self, tmp_path):
        found = settings("a=speech:x", "b=energy:", trust_remote_code=True)
        assert found["a"]["trust_remote_code"] is True
        assert "trust_remote_code" not in found["b"]
        teachers = make_teachers(tmp_path)
        (entry,) = read_teachers([f"speech=speech:{teachers.speech}"], trust_remote_code=True)
        assert entry.load(CPU).targets
