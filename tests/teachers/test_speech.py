"""Speech teachers on small models of the real architectures, made here."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from small_teachers import HUBERT, make_speech_base, named
from transformers import (
    AutoModelForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
)

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import speech
from liser_ray.teachers.patterns import expanded
from liser_ray.teachers.pooled_head import Logits
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_inputs import RawSound
from liser_ray.teachers.speech_models import SpeechModel, load_models

CPU = torch.device("cpu")
WINDOW_SAMPLES = 8000
FOUR = ("neutral", "happy", "sad", "angry")
SIX = ("anger", "disgust", "fear", "happy", "neutral", "sad")
# So that outputs of different inputs are far apart.
SMALL = HUBERT | {
    "intermediate_size": 48,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 12,
    "initializer_range": 0.5,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with a backbone without a head, two adapters on it, and whole models of three architectures."""
    root = tmp_path_factory.mktemp("models")
    make_speech_base(root / "backbone", **SMALL)
    for seed, (name, labels) in enumerate((("fold-0", FOUR), ("fold-1", SIX))):
        torch.manual_seed(seed + 1)
        save_adapter(root / "adapters" / name, root / "backbone", labels)
    whole = {
        "hubert": HubertForSequenceClassification(HubertConfig(**SMALL, **named(FOUR))),
        "wav2vec2": Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**SMALL, **named(SIX))),
        "wavlm": WavLMForSequenceClassification(WavLMConfig(**SMALL, **named(FOUR))),
    }
    for name, model in whole.items():
        model.save_pretrained(root / name)
        Wav2Vec2FeatureExtractor(do_normalize=name != "wavlm").save_pretrained(root / name)
    return root


def save_adapter(folder, base, labels, **changes):
    model = AutoModelForAudioClassification.from_pretrained(base, num_labels=len(labels))
    lora = {"target_modules": ["q_proj", "v_proj"], "r": 4, "modules_to_save": ["projector", "classifier"]}
    tuned = get_peft_model(model, LoraConfig(**lora | changes))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:  # zeros as it starts: an adapter that does nothing
            torch.nn.init.normal_(parameter, std=0.5)
    tuned.save_pretrained(folder)
    (folder / "labels.json").write_text(json.dumps(labels))
    return tuned


@pytest.fixture
def windows() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0.01, 0.1, (7, WINDOW_SAMPLES)).astype(np.float32)
    return np.cumsum(noise, axis=1) / 30 * np.linspace(0.2, 1, 7, dtype=np.float32)[:, None]


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(path, changed):
    """Each key and tensor is replaced by what ``changed`` makes of it, if anything."""
    save_file(dict(pair for item in load_file(path).items() if (pair := changed(*item))), path)


def answers_of(model, windows):
    """Transformers' own softmax."""
    inputs = Wav2Vec2FeatureExtractor()(list(windows), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        return model.eval()(input_values=inputs).logits.softmax(-1).numpy()


def load(*folders, device="cpu", precision="float32", batch_size=64, embedding=False) -> SpeechTeacher:
    """Models asked together, each named after its folder."""
    device = torch.device(device)
    named = {Path(folder).name.replace("-", "_"): str(folder) for folder in folders}
    models = load_models(named, device)
    return SpeechTeacher("speech", models, device, precision, batch_size, embedding=embedding)


def softmaxes(teacher: SpeechTeacher, windows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: answer.values for name, answer in teacher(windows).items()}


def ask(*folders, windows: np.ndarray) -> np.ndarray:
    """Softmaxes of the first."""
    return next(iter(softmaxes(load(*folders), windows).values()))


@pytest.mark.numerics
@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "wavlm"])
def test_equals_the_model_with_its_feature_extractor(models, windows, name):
    teacher = load(models / name)
    softmax = softmaxes(teacher, windows)[name]
    model = AutoModelForAudioClassification.from_pretrained(models / name).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(models / name)
    inputs = extractor(list(windows), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(inputs.input_values).logits.softmax(-1).numpy()
    np.testing.assert_allclose(softmax, expected, atol=1e-5)
    assert softmax.dtype == np.float32
    assert np.ptp(softmax, axis=0).max() > 0.05  # the windows do get different answers
    assert teacher.targets[0].labels == (SIX if name == "wav2vec2" else FOUR)


@pytest.mark.numerics
def test_an_embedding_is_the_pooled_vector_that_the_last_layer_reads(models, windows):
    teacher = load(models / "hubert", models / "wav2vec2", batch_size=3, embedding=True)
    assert [target.embedding_size for target in teacher.targets] == [12, 12]
    model = HubertForSequenceClassification.from_pretrained(models / "hubert").eval()
    inputs = Wav2Vec2FeatureExtractor()(list(windows), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = model.projector(model.hubert(inputs).last_hidden_state).mean(dim=1).numpy()
    said = teacher(windows)
    assert said["hubert"].embedding.dtype == np.float16
    np.testing.assert_allclose(said["hubert"].embedding, expected, rtol=1e-3, atol=1e-3)
    assert np.ptp(expected, axis=0).max() > 0.1
    assert not np.allclose(said["wav2vec2"].embedding, expected, atol=0.1)
    assert teacher(windows[:0])["hubert"].embedding.shape == (0, 12)
    plain = load(models / "hubert")
    assert plain.targets[0].embedding_size == 0
    assert plain(windows)["hubert"].embedding is None


@pytest.mark.numerics
@pytest.mark.parametrize("how", [{}, {"modules_to_save": ["projector"], "target_modules": ["q_proj", "classifier"]}])
def test_an_embedding_of_an_adapter_is_what_its_own_last_layer_reads(models, windows, how, tmp_path):
    base = models / "hubert" if how else models / "backbone"
    tuned = save_adapter(tmp_path / "fold-0", base, FOUR, **how).eval().get_base_model()
    inputs = Wav2Vec2FeatureExtractor()(list(windows), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = tuned.projector(tuned.hubert(inputs).last_hidden_state).mean(dim=1).numpy()
    teacher = load(tmp_path / "fold-0", embedding=True)
    np.testing.assert_allclose(teacher(windows)["fold_0"].embedding, expected, rtol=1e-3, atol=1e-3)


class NoLastLayer(torch.nn.Module):
    """Its logits are the sum of two layers'."""

    def __init__(self):
        super().__init__()
        self.one, self.other = torch.nn.Linear(8000, 2), torch.nn.Linear(8000, 2)

    def forward(self, input_values):
        return Logits(self.one(input_values) + self.other(input_values))


def test_an_embedding_of_a_model_without_a_last_layer_is_refused():
    model = SpeechModel("mixture", ("a", "b"), "", NoLastLayer(), RawSound(False))
    with pytest.raises(UserError, match="speech teacher mixture: its logits do not come from a layer"):
        SpeechTeacher("speech", [model], CPU, "float32", embedding=True)
    SpeechTeacher("speech", [model], CPU, "float32")


@pytest.mark.numerics
def test_order_and_batch_size_do_not_matter(models, windows):
    folders = [models / "hubert", models / "adapters/fold-0", models / "adapters/fold-1"]
    whole = softmaxes(load(*folders, batch_size=32), windows)
    order = np.random.default_rng(1).permutation(len(windows))
    shuffled = softmaxes(load(*folders, batch_size=3), windows[order])
    assert list(whole) == ["hubert", "fold_0", "fold_1"]
    for name in whole:
        np.testing.assert_allclose(shuffled[name], whole[name][order], atol=1e-5)


def test_no_windows_and_digital_silence_have_answers(models):
    assert ask(models / "wav2vec2", windows=np.zeros((0, WINDOW_SAMPLES), np.float32)).shape == (0, 6)
    assert ask(models / "wav2vec2", windows=np.zeros((1, WINDOW_SAMPLES), np.float32)).sum() == pytest.approx(
        1, abs=1e-5
    )


@pytest.mark.numerics
def test_adapters_on_one_backbone_equal_each_alone(models, windows):
    folds = [models / "adapters/fold-0", models / "adapters/fold-1"]
    together = load(*folds)
    found = softmaxes(together, windows)
    assert found["fold_0"].shape == (7, 4)
    assert found["fold_1"].shape == (7, 6)
    for fold, target in zip(folds, together.targets, strict=True):
        np.testing.assert_allclose(found[target.name], ask(fold, windows=windows), atol=1e-6)
    again = softmaxes(together, windows)
    np.testing.assert_array_equal(found["fold_0"], again["fold_0"])


@pytest.mark.numerics
def test_adapter_equals_peft_itself(models, windows, tmp_path):
    torch.manual_seed(5)
    tuned = save_adapter(tmp_path / "tuned", models / "backbone", FOUR)
    softmax = ask(tmp_path / "tuned", windows=windows)
    np.testing.assert_allclose(softmax, answers_of(tuned, windows), atol=1e-5)
    with tuned.disable_adapter():
        assert abs(softmax - answers_of(tuned, windows)).max() > 0.01


def test_adapters_share_the_backbone_and_its_convolutions_run_once(models, windows):
    teacher = load(models / "adapters/fold-0", models / "adapters/fold-1", batch_size=4)
    first, second = ({p.data_ptr() for p in one.network.parameters()} for one in teacher.models)
    assert len(first & second) >= len(load_file(models / "backbone/model.safetensors")) - 1  # masked_spec_embed
    convolutions = teacher.models[0].network.get_base_model().hubert.feature_extractor.module
    calls = []
    convolutions.register_forward_hook(lambda *_: calls.append(1))
    teacher(windows)
    assert len(calls) == 2  # batches, not batches times adapters


@pytest.mark.numerics
def test_adapter_that_changes_the_convolutions_keeps_its_own(models, windows, tmp_path):
    torch.manual_seed(6)
    targets = r".*conv_layers\.1\.conv|.*q_proj"
    tuned = save_adapter(tmp_path / "conv", models / "backbone", FOUR, target_modules=targets)
    plain = models / "adapters/fold-0"
    both = softmaxes(load(tmp_path / "conv", plain), windows)
    np.testing.assert_allclose(both["fold_0"], ask(plain, windows=windows), atol=1e-6)
    np.testing.assert_allclose(both["conv"], answers_of(tuned, windows), atol=1e-5)


@pytest.mark.numerics
def test_adapter_that_overwrites_biases_does_not_touch_the_others(models, windows, tmp_path):
    torch.manual_seed(7)
    save_adapter(tmp_path / "biased", models / "backbone", FOUR, bias="lora_only")
    changed = []

    def raised(key, tensor):
        if key.endswith(("q_proj.base_layer.bias", "q_proj.bias")):
            changed.append(key)
            return key, tensor + 1
        return key, tensor

    edit_tensors(tmp_path / "biased/adapter_model.safetensors", raised)
    assert changed
    plain = models / "adapters/fold-0"
    for order in ([plain, tmp_path / "biased"], [tmp_path / "biased", plain]):
        both = softmaxes(load(*order), windows)
        np.testing.assert_allclose(both["fold_0"], ask(plain, windows=windows), atol=1e-6)


def test_old_names_of_the_weight_norm_load(models, windows, tmp_path):
    shutil.copytree(models / "hubert", tmp_path / "old")
    path = tmp_path / "old/model.safetensors"
    tensors = load_file(path)
    renamed = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for key, tensor in tensors.items()
    }
    assert sum(key.endswith(("weight_g", "weight_v")) for key in renamed) == 2
    path.unlink()
    torch.save(renamed, tmp_path / "old/pytorch_model.bin")
    expected = ask(models / "hubert", windows=windows)
    np.testing.assert_array_equal(ask(tmp_path / "old", windows=windows), expected)


@pytest.mark.parametrize(
    ("lost", "refused"),
    [
        ("classifier.weight", True),
        ("projector.bias", True),
        ("hubert.encoder.pos_conv_embed.conv.parametrizations.weight.original0", True),
        ("hubert.masked_spec_embed", False),  # never used in inference
    ],
)
def test_missing_weights_are_refused(models, tmp_path, lost, refused):
    shutil.copytree(models / "hubert", tmp_path / "m")
    edit_tensors(tmp_path / "m/model.safetensors", lambda key, tensor: (key, tensor) if key != lost else None)
    with pytest.raises(UserError, match=lost) if refused else nullcontext():
        load(tmp_path / "m")


def test_adapter_without_projector_is_refused(models, tmp_path):
    # What PEFT saves for TaskType.SEQ_CLS: the classifier, but not the projector in front of it.
    save_adapter(tmp_path / "half", models / "backbone", FOUR, modules_to_save=["classifier"])
    with pytest.raises(UserError, match=r"projector\.bias, projector\.weight.*modules_to_save"):
        load(tmp_path / "half")


@pytest.mark.parametrize("part", ["lora_A", "classifier.bias"])
def test_adapter_with_lost_weights_is_refused(models, tmp_path, part):
    shutil.copytree(models / "adapters/fold-0", tmp_path / "a")
    path = tmp_path / "a/adapter_model.safetensors"
    edit_tensors(path, lambda key, tensor: (key, tensor) if part not in key else None)
    with pytest.raises(UserError, match="adapter"):
        load(tmp_path / "a")


def test_adapter_of_another_architecture_is_refused(models, tmp_path):
    shutil.copytree(models / "adapters/fold-0", tmp_path / "a")
    edit_json(tmp_path / "a/adapter_config.json", base_model_name_or_path=str(models / "wav2vec2"))
    with pytest.raises(UserError, match="does not fit"):
        load(tmp_path / "a")


def test_base_beside_the_adapter_or_absent(models, tmp_path):
    shutil.copytree(models / "backbone", tmp_path / "backbone")
    shutil.copytree(models / "adapters/fold-0", tmp_path / "a")
    edit_json(tmp_path / "a/adapter_config.json", base_model_name_or_path="../backbone")
    load(tmp_path / "a")
    edit_json(tmp_path / "a/adapter_config.json", base_model_name_or_path="/nowhere/backbone")
    with pytest.raises(UserError, match="base_model_name_or_path"):
        load(tmp_path / "a")


def test_adapters_and_base_on_s3(models, windows, s3_store, tmp_path, monkeypatch):
    monkeypatch.setenv("LISER_CACHE", str(tmp_path / "cache"))
    bucket = s3_store.bucket()
    shutil.copytree(models / "backbone", tmp_path / "lab/backbone")
    shutil.copytree(models / "adapters", tmp_path / "lab/ravdess")
    for fold in ("fold-0", "fold-1"):
        config = tmp_path / "lab/ravdess" / fold / "adapter_config.json"
        edit_json(config, base_model_name_or_path=f"s3://{bucket}/lab/backbone")
    for path in sorted((tmp_path / "lab").rglob("*")):
        if path.is_file():
            s3_store.client.upload_file(str(path), bucket, str(path.relative_to(tmp_path)))
    found, local = (
        softmaxes(speech.load("speech", speech.Options(address), CPU, "float32"), windows)
        for address in (f"s3://{bucket}/lab/ravdess/fold-*", str(models / "adapters/fold-*"))
    )
    assert list(found) == list(local) == ["speech_fold_0", "speech_fold_1"]
    for name in local:
        np.testing.assert_allclose(found[name], local[name], atol=1e-6)


def test_adapter_on_a_whole_model_keeps_its_head_and_labels(models, windows, tmp_path):
    save_adapter(tmp_path / "lora", models / "hubert", FOUR, modules_to_save=[])
    (tmp_path / "lora/labels.json").unlink()
    teacher = load(tmp_path / "lora", models / "hubert")
    assert teacher.targets[0].labels == FOUR
    found = softmaxes(teacher, windows)
    assert abs(found["lora"] - found["hubert"]).max() > 0.01


def test_labels_must_be_named(models, tmp_path):
    shutil.copytree(models / "hubert", tmp_path / "m")
    for bad in ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2", "3": "LABEL_3"}, dict(enumerate("aabc"))):
        edit_json(tmp_path / "m/config.json", id2label=bad)
        with pytest.raises(UserError, match="id2label"):
            load(tmp_path / "m")


def test_labels_of_an_adapter(models, tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(models / "adapters/fold-0", folder)
    (folder / "config.json").write_text(json.dumps({"id2label": {"1": "b", "0": "a", "3": "d", "2": "c"}}))
    assert load(folder).targets[0].labels == ("a", "b", "c", "d")
    (folder / "config.json").unlink()
    (folder / "labels.json").write_text(json.dumps(SIX))
    with pytest.raises(UserError, match="4 outputs, but there are 6 labels"):
        load(folder)
    (folder / "labels.json").unlink()
    with pytest.raises(UserError, match=r"labels\.json"):
        load(folder)


@pytest.mark.numerics
def test_normalisation_is_what_the_folder_says(models, windows, tmp_path, caplog):
    loud = windows * np.float32(0.5)
    normalised = ask(models / "hubert", windows=windows)
    np.testing.assert_allclose(ask(models / "hubert", windows=loud), normalised, atol=1e-3)
    shutil.copytree(models / "hubert", tmp_path / "m")
    edit_json(tmp_path / "m/preprocessor_config.json", do_normalize=False)
    raw = load(tmp_path / "m")
    assert raw.models[0].prepare == RawSound(normalised=False)
    assert abs(softmaxes(raw, windows)["m"] - normalised).max() > 1e-3
    edit_json(tmp_path / "m/preprocessor_config.json", sampling_rate=8_000)
    with pytest.raises(UserError, match="8000 Hz"):
        load(tmp_path / "m")
    (tmp_path / "m/preprocessor_config.json").unlink()
    assert load(tmp_path / "m").models[0].prepare == RawSound(normalised=True)
    assert "preprocessor_config.json" in caplog.text


def test_numbers_that_are_none_raise(models, windows):
    windows[2] = np.nan
    with pytest.raises(FloatingPointError, match=r"hubert.*1 of 7 windows, first in window 2"):
        load(models / "hubert", models / "wavlm")(windows)


def test_not_a_speech_model(models, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "absent", "Weights not found"),
        (tmp_path / "empty", "save_pretrained"),
        (models / "backbone", r"classifier\.weight"),
    ):
        with pytest.raises(UserError, match=message):
            load(folder)


def test_hash_changes_with_adapter_and_base(models, tmp_path):
    first, second = load(models / "adapters/fold-0", models / "adapters/fold-1").targets
    assert first.sha256 != second.sha256
    for part in ("backbone", "adapters/fold-0"):
        shutil.copytree(models / part, tmp_path / part)
    edit_json(tmp_path / "adapters/fold-0/adapter_config.json", base_model_name_or_path="../../backbone")
    (copied,) = load(tmp_path / "adapters/fold-0").targets
    edit_json(tmp_path / "backbone/config.json", comment="another base")
    (changed,) = load(tmp_path / "adapters/fold-0").targets
    assert copied.sha256 != changed.sha256


def test_hearing_more_than_the_window(models, windows):
    folder = str(models / "hubert")
    alone = speech.load("speech", speech.Options(folder), CPU, "float32")
    more = speech.load("speech", speech.Options(folder, hears_s=0.75), CPU, "float32")
    assert (alone.hears_s, more.hears_s) == (0.0, 0.75)
    assert alone.targets[0].window_s == more.targets[0].window_s == more.targets[0].hop_s == 0.5
    assert alone.targets[0].sha256 != more.targets[0].sha256
    assert more(np.pad(windows, ((0, 0), (0, 4000))))["speech"].values.shape == (7, 4)
    with pytest.raises(UserError, match=r"hears_s is 0\.2: give 0\.5 seconds or more"):
        speech.Options(folder, hears_s=0.2)


def test_names_of_a_pattern(tmp_path, monkeypatch):
    for folder in ("fold-0", "fold-1", "other"):
        (tmp_path / "ravdess" / folder).mkdir(parents=True)
    (tmp_path / "ravdess/fold-notes.txt").touch()
    assert list(expanded("speech", f"{tmp_path}/ravdess/fold-*").items()) == [
        ("speech_fold_0", f"{tmp_path}/ravdess/fold-0"),
        ("speech_fold_1", f"{tmp_path}/ravdess/fold-1"),
    ]
    monkeypatch.chdir(tmp_path / "ravdess")
    assert list(expanded("s", "fold-*")) == ["s_fold_0", "s_fold_1"]
    assert list(expanded("s", "fold-[1]")) == ["s_fold_1"]
    for address in ("hf://superb/hubert-base-superb-er", "/x/lr=1/m"):
        assert expanded("er", address) == {"er": address}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("/nowhere/fold-*", "No folder matches"),
        ("/a/*/fold-0", "last part"),
        ("/nowhere/at/all/fold-*", "No folder matches"),
    ],
)
def test_bad_patterns(address, message):
    with pytest.raises(UserError, match=message):
        expanded("speech", address)


def test_two_folders_of_a_pattern_that_would_have_one_name(tmp_path):
    for folder in ("a-0", "a_0"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match="would both be called speech_a_0"):
        expanded("speech", f"{tmp_path}/a*")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem_type": "regression"}, r"gives numbers \(regression\), not a distribution"),
        ({"problem_type": "multi_label_classification"}, "several labels at once"),
        ({"id2label": {"0": "arousal"}}, "one output"),
    ],
)
def test_a_head_that_gives_no_distribution_is_refused(models, tmp_path, changes, words):
    shutil.copytree(models / "hubert", tmp_path / "m")
    edit_json(tmp_path / "m/config.json", **changes)
    if "id2label" in changes:
        cut = {"classifier.weight", "classifier.bias"}
        path = tmp_path / "m/model.safetensors"
        edit_tensors(path, lambda key, tensor: (key, tensor[:1].clone() if key in cut else tensor))
    with pytest.raises(UserError, match=words):
        load(tmp_path / "m")


def test_a_head_of_another_size_than_its_labels_is_named_with_both_sizes(models, tmp_path):
    shutil.copytree(models / "hubert", tmp_path / "m")
    edit_json(tmp_path / "m/config.json", id2label={str(k): f"emotion {k}" for k in range(9)})
    with pytest.raises(
        UserError, match=r"m: classifier\.bias is \d in its weights, and 9 by its config\.json \(2 differ"
    ):
        load(tmp_path / "m")


@pytest.mark.parametrize("lost", [("projector.weight", "projector.bias", "classifier.weight"), ()])
def test_a_head_of_another_kind_is_named_by_its_keys(models, tmp_path, lost):
    shutil.copytree(models / "hubert", tmp_path / "m")
    path = tmp_path / "m/model.safetensors"
    kept = {key: tensor for key, tensor in load_file(path).items() if key not in lost}
    save_file(kept | {"classifier.dense.weight": torch.ones(3, 3)}, path)
    with pytest.raises(UserError, match=r"classifier\.dense\.weight"):
        load(tmp_path / "m")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 5e-2), ("float16", 1e-2)])
def test_gpu_equals_cpu(models, windows, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # PyTorch's default in "float32"
    folders = [models / "adapters/fold-0", models / "adapters/fold-1", models / "wavlm"]
    on_cpu = softmaxes(load(*folders), windows)
    on_gpu = softmaxes(load(*folders, device="cuda", precision=dtype, batch_size=2), windows)
    for name in on_cpu:
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], atol=tolerance)


@pytest.mark.numerics
def test_bfloat16_on_a_cpu_that_has_instructions_for_it(tmp_path, windows, monkeypatch):
    torch.manual_seed(0)
    # The others' weights would make much of a rounding. Two groups: with AMX, oneDNN gets bfloat16 convolutions wrong
    # that have fewer than 16 channels in a group and a kernel of a multiple of 16 (HuBERT base has 48).
    calm = SMALL | {"initializer_range": 0.1, "num_conv_pos_embedding_groups": 2}
    HubertForSequenceClassification(HubertConfig(**calm, **named(FOUR))).save_pretrained(tmp_path)
    full = ask(tmp_path, windows=windows)
    for able in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx512_bf16": able})
        (lowered,) = softmaxes(load(tmp_path, precision="bfloat16"), windows).values()
        differ = np.abs(lowered - full).max()
        # 6 % of what the windows differ by, with each kind of instructions; a wrong product makes it 100 %.
        assert 0 < differ < 0.2 * np.ptp(full, axis=0).max() if able else differ == 0


def test_no_network_is_asked(models, windows, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("network"))
    load(models / "adapters/fold-0", models / "hubert")(windows)
