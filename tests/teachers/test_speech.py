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
from liser_ray.teachers.speech import WINDOW_SAMPLES, load_speech_teachers, speech_windows
from liser_ray.teachers.speech_specs import read_specs

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


def test_windows_of_half_a_second():
    pcm = np.arange(2 * WINDOW_SAMPLES + 100).astype(np.int16)
    windows, start_s = speech_windows(pcm)
    assert windows.shape == (2, WINDOW_SAMPLES)
    assert windows.dtype == start_s.dtype == np.float32
    assert start_s.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal((windows[1] * 32768).astype(np.int16), pcm[WINDOW_SAMPLES : 2 * WINDOW_SAMPLES])


def test_short_audio_is_one_padded_window():
    windows, start_s = speech_windows(np.full(100, -32768, np.int16))
    assert windows.shape == (1, WINDOW_SAMPLES)
    assert start_s.tolist() == [0.0]
    assert (windows[0, :100] == -1).all()
    assert not windows[0, 100:].any()
    assert speech_windows(np.zeros(0, np.int16))[0].shape == (0, WINDOW_SAMPLES)


@pytest.mark.numerics
@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "wavlm"])
def test_equals_the_model_with_its_feature_extractor(models, windows, name):
    teachers = load_speech_teachers([str(models / name)])
    softmax = teachers(windows)[name]
    model = AutoModelForAudioClassification.from_pretrained(models / name).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(models / name)
    inputs = extractor(list(windows), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(inputs.input_values).logits.softmax(-1).numpy()
    np.testing.assert_allclose(softmax, expected, atol=1e-5)
    assert softmax.dtype == np.float32
    assert np.ptp(softmax, axis=0).max() > 0.05  # the windows do get different answers
    assert teachers.teachers[0].labels == (SIX if name == "wav2vec2" else FOUR)


@pytest.mark.numerics
def test_order_and_batch_size_do_not_matter(models, windows):
    specs = [str(models / "hubert"), str(models / "adapters/fold-*")]
    whole = load_speech_teachers(specs, batch_size=32)(windows)
    order = np.random.default_rng(1).permutation(len(windows))
    shuffled = load_speech_teachers(specs, batch_size=3)(windows[order])
    assert list(whole) == ["hubert", "fold_0", "fold_1"]
    for name in whole:
        np.testing.assert_allclose(shuffled[name], whole[name][order], atol=1e-5)


def test_no_windows_and_digital_silence_have_answers(models):
    teachers = load_speech_teachers([str(models / "wav2vec2")])
    assert teachers(np.zeros((0, WINDOW_SAMPLES), np.float32))["wav2vec2"].shape == (0, 6)
    assert teachers(np.zeros((1, WINDOW_SAMPLES), np.float32))["wav2vec2"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.numerics
def test_adapters_on_one_backbone_equal_each_alone(models, windows):
    folds = [str(models / "adapters/fold-0"), str(models / "adapters/fold-1")]
    together = load_speech_teachers(folds)
    found = together(windows)
    assert found["fold_0"].shape == (7, 4)
    assert found["fold_1"].shape == (7, 6)
    for fold, teacher in zip(folds, together.teachers, strict=True):
        alone = load_speech_teachers([fold])(windows)
        np.testing.assert_allclose(found[teacher.name], alone[teacher.name], atol=1e-6)
    again = together(windows)
    np.testing.assert_array_equal(found["fold_0"], again["fold_0"])


@pytest.mark.numerics
def test_adapter_equals_peft_itself(models, windows, tmp_path):
    torch.manual_seed(5)
    tuned = save_adapter(tmp_path / "tuned", models / "backbone", FOUR)
    softmax = load_speech_teachers([str(tmp_path / "tuned")])(windows)["tuned"]
    np.testing.assert_allclose(softmax, answers_of(tuned, windows), atol=1e-5)
    with tuned.disable_adapter():
        assert abs(softmax - answers_of(tuned, windows)).max() > 0.01


def test_adapters_share_the_backbone_and_its_convolutions_run_once(models, windows):
    teachers = load_speech_teachers([str(models / "adapters/fold-*")], batch_size=4)
    first, second = ({p.data_ptr() for p in one.network.parameters()} for one in teachers.teachers)
    assert len(first & second) >= len(load_file(models / "backbone/model.safetensors")) - 1  # masked_spec_embed
    convolutions = teachers.teachers[0].network.get_base_model().hubert.feature_extractor.module
    calls = []
    convolutions.register_forward_hook(lambda *_: calls.append(1))
    teachers(windows)
    assert len(calls) == 2  # batches, not batches times adapters


@pytest.mark.numerics
def test_adapter_that_changes_the_convolutions_keeps_its_own(models, windows, tmp_path):
    torch.manual_seed(6)
    targets = r".*conv_layers\.1\.conv|.*q_proj"
    tuned = save_adapter(tmp_path / "conv", models / "backbone", FOUR, target_modules=targets)
    plain = str(models / "adapters/fold-0")
    both = load_speech_teachers([str(tmp_path / "conv"), plain])(windows)
    np.testing.assert_allclose(both["fold_0"], load_speech_teachers([plain])(windows)["fold_0"], atol=1e-6)
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
    plain = str(models / "adapters/fold-0")
    for order in ([plain, str(tmp_path / "biased")], [str(tmp_path / "biased"), plain]):
        both = load_speech_teachers(order)(windows)
        np.testing.assert_allclose(both["fold_0"], load_speech_teachers([plain])(windows)["fold_0"], atol=1e-6)


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
    expected = load_speech_teachers([str(models / "hubert")])(windows)["hubert"]
    np.testing.assert_array_equal(load_speech_teachers([str(tmp_path / "old")])(windows)["old"], expected)


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
        load_speech_teachers([str(tmp_path / "m")])


def test_adapter_without_projector_is_refused(models, tmp_path):
    # What PEFT saves for TaskType.SEQ_CLS: the classifier, but not the projector in front of it.
    save_adapter(tmp_path / "half", models / "backbone", FOUR, modules_to_save=["classifier"])
    with pytest.raises(UserError, match=r"projector\.bias, projector\.weight.*modules_to_save"):
        load_speech_teachers([str(tmp_path / "half")])


@pytest.mark.parametrize("part", ["lora_A", "classifier.bias"])
def test_adapter_with_lost_weights_is_refused(models, tmp_path, part):
    shutil.copytree(models / "adapters/fold-0", tmp_path / "a")
    path = tmp_path / "a/adapter_model.safetensors"
    edit_tensors(path, lambda key, tensor: (key, tensor) if part not in key else None)
    with pytest.raises(UserError, match="adapter"):
        load_speech_teachers([str(tmp_path / "a")])


def test_adapter_of_another_architecture_is_refused(models, tmp_path):
    shutil.copytree(models / "adapters/fold-0", tmp_path / "a")
    edit_json(tmp_path / "a/adapter_config.json", base_model_name_or_path=str(models / "wav2vec2"))
    with pytest.raises(UserError, match="does not fit"):
        load_speech_teachers([str(tmp_path / "a")])


def test_base_beside_the_adapter_or_absent(models, tmp_path):
    shutil.copytree(models / "backbone", tmp_path / "backbone")
    shutil.copytree(models / "adapters/fold-0", tmp_path / "a")
    edit_json(tmp_path / "a/adapter_config.json", base_model_name_or_path="../backbone")
    load_speech_teachers([str(tmp_path / "a")])
    edit_json(tmp_path / "a/adapter_config.json", base_model_name_or_path="/nowhere/backbone")
    with pytest.raises(UserError, match="base_model_name_or_path"):
        load_speech_teachers([str(tmp_path / "a")])


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
    found = load_speech_teachers([f"s3://{bucket}/lab/ravdess/fold-*"])(windows)
    local = load_speech_teachers([str(models / "adapters/fold-*")])(windows)
    assert list(found) == list(local) == ["fold_0", "fold_1"]
    for name in local:
        np.testing.assert_allclose(found[name], local[name], atol=1e-6)


def test_adapter_on_a_whole_model_keeps_its_head_and_labels(models, windows, tmp_path):
    save_adapter(tmp_path / "lora", models / "hubert", FOUR, modules_to_save=[])
    (tmp_path / "lora/labels.json").unlink()
    teachers = load_speech_teachers([str(tmp_path / "lora"), str(models / "hubert")])
    assert teachers.teachers[0].labels == FOUR
    found = teachers(windows)
    assert abs(found["lora"] - found["hubert"]).max() > 0.01


def test_labels_must_be_named(models, tmp_path):
    shutil.copytree(models / "hubert", tmp_path / "m")
    for bad in ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2", "3": "LABEL_3"}, dict(enumerate("aabc"))):
        edit_json(tmp_path / "m/config.json", id2label=bad)
        with pytest.raises(UserError, match="id2label"):
            load_speech_teachers([str(tmp_path / "m")])


def test_labels_of_an_adapter(models, tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(models / "adapters/fold-0", folder)
    (folder / "config.json").write_text(json.dumps({"id2label": {"1": "b", "0": "a", "3": "d", "2": "c"}}))
    assert load_speech_teachers([str(folder)]).teachers[0].labels == ("a", "b", "c", "d")
    (folder / "config.json").unlink()
    (folder / "labels.json").write_text(json.dumps(SIX))
    with pytest.raises(UserError, match="4 outputs, but there are 6 labels"):
        load_speech_teachers([str(folder)])
    (folder / "labels.json").unlink()
    with pytest.raises(UserError, match=r"labels\.json"):
        load_speech_teachers([str(folder)])


@pytest.mark.numerics
def test_normalisation_is_what_the_folder_says(models, windows, tmp_path, caplog):
    loud = windows * np.float32(0.5)
    normalised = load_speech_teachers([str(models / "hubert")])
    np.testing.assert_allclose(normalised(loud)["hubert"], normalised(windows)["hubert"], atol=1e-3)
    shutil.copytree(models / "hubert", tmp_path / "m")
    edit_json(tmp_path / "m/preprocessor_config.json", do_normalize=False)
    raw = load_speech_teachers([str(tmp_path / "m")])
    assert not raw.teachers[0].zero_mean_unit_variance
    assert abs(raw(windows)["m"] - normalised(windows)["hubert"]).max() > 1e-3
    edit_json(tmp_path / "m/preprocessor_config.json", sampling_rate=8_000)
    with pytest.raises(UserError, match="8000 Hz"):
        load_speech_teachers([str(tmp_path / "m")])
    (tmp_path / "m/preprocessor_config.json").unlink()
    assert load_speech_teachers([str(tmp_path / "m")]).teachers[0].zero_mean_unit_variance
    assert "preprocessor_config.json" in caplog.text


def test_numbers_that_are_none_raise(models, windows):
    teachers = load_speech_teachers([str(models / "hubert"), str(models / "wavlm")])
    windows[2] = np.nan
    with pytest.raises(FloatingPointError, match=r"hubert.*1 of 7 windows, first in window 2"):
        teachers(windows)


def test_not_a_speech_model(models, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "absent", "Weights not found"),
        (tmp_path / "empty", "save_pretrained"),
        (models / "backbone", r"classifier\.weight"),
    ):
        with pytest.raises(UserError, match=message):
            load_speech_teachers([str(folder)])


def test_hash_changes_with_adapter_and_base(models, tmp_path):
    first, second = load_speech_teachers([str(models / "adapters/fold-*")]).teachers
    assert first.sha256 != second.sha256
    for part in ("backbone", "adapters/fold-0"):
        shutil.copytree(models / part, tmp_path / part)
    edit_json(tmp_path / "adapters/fold-0/adapter_config.json", base_model_name_or_path="../../backbone")
    copied = load_speech_teachers([str(tmp_path / "adapters/fold-0")]).teachers[0]
    edit_json(tmp_path / "backbone/config.json", comment="another base")
    changed = load_speech_teachers([str(tmp_path / "adapters/fold-0")]).teachers[0]
    assert copied.sha256 != changed.sha256


def test_names(tmp_path, monkeypatch):
    for folder in ("fold-0", "fold-1", "other"):
        (tmp_path / "ravdess" / folder).mkdir(parents=True)
    (tmp_path / "ravdess/fold-notes.txt").touch()
    pattern = f"{tmp_path}/ravdess/fold-*"
    assert list(read_specs([pattern]).items()) == [
        ("fold_0", f"{tmp_path}/ravdess/fold-0"),
        ("fold_1", f"{tmp_path}/ravdess/fold-1"),
    ]
    monkeypatch.chdir(tmp_path / "ravdess")
    assert list(read_specs(["fold-*"])) == ["fold_0", "fold_1"]
    of_two_sets = [f"ravdess={pattern}", f"cremad={tmp_path}/ravdess/fold-*"]
    assert list(read_specs(of_two_sets)) == ["ravdess_fold_0", "ravdess_fold_1", "cremad_fold_0", "cremad_fold_1"]
    assert read_specs([f"cremad={pattern}"])["cremad_fold_1"] == f"{tmp_path}/ravdess/fold-1"
    assert read_specs(["er=hf://superb/hubert-base-superb-er", "hf://a/7.b", "/x/lr=1/m"]) == {
        "er": "hf://superb/hubert-base-superb-er",
        "_7_b": "hf://a/7.b",
        "m": "/x/lr=1/m",
    }


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "No speech teacher"),
        (["/a/fold-0", "/b/fold_0"], "Two speech teachers are called 'fold_0'"),
        (["fold-0=/a"], "letters, digits"),
        (["x="], "name=uri"),
        (["x=/nowhere/fold-*"], "No folder matches"),
        (["/a/*/fold-0"], "last part"),
        (["/nowhere/at/all/fold-*"], "No folder matches"),
    ],
)
def test_bad_specs(specs, message):
    with pytest.raises(UserError, match=message):
        read_specs(specs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 5e-2), ("float16", 1e-2)])
def test_gpu_equals_cpu(models, windows, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # PyTorch's default in "float32"
    specs = [str(models / "adapters/fold-*"), str(models / "wavlm")]
    on_cpu = load_speech_teachers(specs, "cpu")(windows)
    on_gpu = load_speech_teachers(specs, "cuda", dtype, batch_size=2)(windows)
    for name in on_cpu:
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], atol=tolerance)


@pytest.mark.numerics
def test_bfloat16_on_a_cpu_that_has_instructions_for_it(tmp_path, windows, monkeypatch):
    torch.manual_seed(0)
    # The others' weights would make much of a rounding. Two groups: with AMX, oneDNN gets bfloat16 convolutions wrong
    # that have fewer than 16 channels in a group and a kernel of a multiple of 16 (HuBERT base has 48).
    calm = SMALL | {"initializer_range": 0.1, "num_conv_pos_embedding_groups": 2}
    HubertForSequenceClassification(HubertConfig(**calm, **named(FOUR))).save_pretrained(tmp_path)
    full = load_speech_teachers([str(tmp_path)], "cpu")(windows)[tmp_path.name]
    for able in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx512_bf16": able})
        differ = np.abs(load_speech_teachers([str(tmp_path)], "cpu", "bfloat16")(windows)[tmp_path.name] - full).max()
        # 6 % of what the windows differ by, with each kind of instructions; a wrong product makes it 100 %.
        assert 0 < differ < 0.2 * np.ptp(full, axis=0).max() if able else differ == 0


def test_no_network_is_asked(models, windows, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("network"))
    load_speech_teachers([str(models / "adapters/fold-0"), str(models / "hubert")])(windows)
