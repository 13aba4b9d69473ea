"""Models that take spectrograms, and no more of them than is heard, equal Transformers' own on that part."""

import json

import numpy as np
import pytest
import torch
from small_teachers import OF_SPECTROGRAMS, SPEECH_LABELS, make_spectrogram_model
from torch.nn.functional import pad
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.kinds import speech
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_inputs import Spectrograms, read_preparation
from liser_ray.teachers.speech_models import BaseModel, load_base

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("spectrogram_models")
    return {kind: make_spectrogram_model(kind, root / kind) for kind in OF_SPECTROGRAMS}


@pytest.fixture
def windows() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.1, (5, 8000)).astype(np.float32)
    return np.cumsum(noise, axis=1) / 40 * np.linspace(0.2, 1, 5, dtype=np.float32)[:, None]


def load(folder, **options) -> SpeechTeacher:
    return speech.load("speech", speech.Options(str(folder), **options), CPU, "float32")


def whisper_by_hand(base: BaseModel, features: torch.Tensor) -> list[torch.Tensor]:
    """Layers of an encoder of Transformers that knows nothing of short inputs: zeros to 30 s, positions cut, layers.

    The convolutions' zeros after their input are those zeros, so what comes of the part before is the same.
    """
    encoder = AutoModelForAudioClassification.from_pretrained(base.folder, dtype=torch.float64).eval().encoder
    n_positions = features.shape[-1] // 2
    with torch.no_grad():
        whole = encoder(pad(features.double(), (0, 3000 - features.shape[-1])), output_hidden_states=True)
        layers = [whole.hidden_states[0][:, :n_positions]]
        for layer in encoder.layers:
            out = layer(layers[-1], None)
            layers.append(out if isinstance(out, torch.Tensor) else out[0])
        layers[-1] = encoder.layer_norm(layers[-1])
    return layers


def assert_equal_by_hand(base: BaseModel, windows: np.ndarray) -> None:
    prepare = read_preparation(base.folder, base.model)
    inputs = prepare.windows(torch.from_numpy(windows))
    base.model.double()
    with torch.no_grad():
        found = base.model(inputs["input_features"].double(), output_hidden_states=True)
    expected = whisper_by_hand(base, inputs["input_features"])
    assert len(found.hidden_states) == len(expected)
    for one, other in zip(found.hidden_states, expected, strict=True):
        assert one.shape[1] == 25
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.numerics
def test_whisper_on_half_a_second_is_its_layers_on_that_part(folders, windows):
    assert_equal_by_hand(load_base(folders["whisper"], CPU), windows)


@pytest.mark.numerics
def test_real_whisper_likewise_and_it_is_no_teacher_by_itself(whisper, test_data):
    import soundfile

    sound, _ = soundfile.read(test_data / "ravdess/Actor_01/03-01-05-02-01-01-01.flac", dtype="float32")
    assert_equal_by_hand(load_base(whisper, CPU), sound[16_000:24_000][None])
    with pytest.raises(UserError, match=r"lacks weights of the classifier: classifier\.bias"):
        load(whisper)


@pytest.mark.numerics
def test_ast_has_the_tokens_of_the_part_that_is_heard(folders, windows):
    base = load_base(folders["ast"], CPU)
    spectrograms = read_preparation(base.folder, base.model).windows(torch.from_numpy(windows))["input_values"]
    assert spectrograms.shape == (5, 48, 128)
    whole = AutoModelForAudioClassification.from_pretrained(base.folder).eval().audio_spectrogram_transformer.embeddings
    with torch.no_grad():
        found = base.model.audio_spectrogram_transformer.embeddings(spectrograms)
        tokens = whole(pad(spectrograms, (0, 0, 0, 1024 - 48)))
    patches = tokens[:, 2:].unflatten(1, (12, 101))[:, :, :4].flatten(1, 2)
    torch.testing.assert_close(found, torch.cat([tokens[:, :2], patches], dim=1), rtol=1e-5, atol=1e-5)


@pytest.mark.numerics
def test_whispers_embedding_is_its_projected_layer_averaged_over_what_is_heard(folders, windows):
    base = load_base(folders["whisper"], CPU)
    inputs = read_preparation(base.folder, base.model).windows(torch.from_numpy(windows))
    whole = AutoModelForAudioClassification.from_pretrained(base.folder, dtype=torch.float64)
    with torch.no_grad():
        expected = whole.projector(whisper_by_hand(base, inputs["input_features"])[-1]).mean(dim=1).numpy()
    teacher = load(folders["whisper"], batch_size=2, embedding=True)
    assert teacher.targets[0].embedding_size == 16
    np.testing.assert_allclose(teacher(windows)["speech"].embedding, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.numerics
@pytest.mark.parametrize(("kind", "last"), [("whisper", ""), ("ast", ".dense"), ("w2v-bert", "")])
def test_the_last_layer_makes_the_answer_of_the_embedding(folders, windows, kind, last):
    answer = load(folders[kind], embedding=True)(windows)["speech"]
    layer = AutoModelForAudioClassification.from_pretrained(folders[kind]).get_submodule(f"classifier{last}")
    with torch.no_grad():
        softmax = layer(torch.from_numpy(answer.embedding).float()).softmax(-1)
    np.testing.assert_allclose(softmax, answer.values, atol=2e-3)


@pytest.mark.numerics
@pytest.mark.parametrize("kind", OF_SPECTROGRAMS)
def test_a_teacher_of_spectrograms(folders, windows, kind):
    teacher = load(folders[kind], batch_size=2)
    found = teacher(windows)["speech"].values
    assert teacher.targets[0].labels == SPEECH_LABELS
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01
    one_by_one = [load(folders[kind])(window[None])["speech"].values[0] for window in windows]
    np.testing.assert_allclose(found, one_by_one, atol=1e-5)
    longer = load(folders[kind], hears_s=1.0)(np.repeat(windows, 2, axis=1))["speech"].values
    assert np.abs(longer - found).max() > 1e-4
    assert teacher(windows[:0])["speech"].values.shape == (0, 4)


@pytest.mark.numerics
def test_w2v_bert_equals_transformers_with_its_extractor(folders, windows):
    extractor = AutoFeatureExtractor.from_pretrained(folders["w2v-bert"])
    model = AutoModelForAudioClassification.from_pretrained(folders["w2v-bert"]).eval()
    with torch.no_grad():
        inputs = extractor(list(windows), sampling_rate=16_000, return_tensors="pt")
        expected = model(**inputs).logits.softmax(1).numpy()
    np.testing.assert_allclose(load(folders["w2v-bert"])(windows)["speech"].values, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "longest_s"), [("whisper", 30.0), ("ast", 10.255), ("w2v-bert", 30.0)])
def test_how_much_goes_in_at_once(folders, kind, longest_s):
    base = load_base(folders[kind], CPU)
    prepare = read_preparation(base.folder, base.model)
    assert isinstance(prepare, Spectrograms)
    assert prepare.longest_s == longest_s
    assert prepare.masked == (kind == "w2v-bert")
    assert prepare == read_preparation(base.folder, base.model)
    pcm = np.random.default_rng(0).normal(0, 3000, round(longest_s * 16_000)).astype(np.int16)
    for piece in (pcm, pcm[:1000], pcm[:12_345]):
        with torch.no_grad():
            assert base.model(**prepare.pieces([piece])).logits.shape == (1, 4)


def test_more_than_a_model_can_hear_is_refused(folders):
    with pytest.raises(UserError, match=r"hears at most 10\.26 s at once, not hears_s 12"):
        load(folders["ast"], hears_s=12)


def test_without_a_preprocessor_nobody_knows_what_it_hears(folders, tmp_path):
    make_spectrogram_model("whisper", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
        load(tmp_path)
    make_spectrogram_model("whisper", tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": 8000}))
    with pytest.raises(UserError, match="8000 Hz"):
        load(tmp_path)
