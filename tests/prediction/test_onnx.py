"""A student's ONNX file beside the student in PyTorch."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from small_students import ATTRIBUTES, EMOTIONS, write_student
from tones import tone

from liser_ray.corpora.speech import read_waveform
from liser_ray.prediction.backend import CARD_KEY
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import NetworkConfig

VARIANTS = [
    NetworkConfig(),
    NetworkConfig(pooling="mean", normalisation="corpus"),
    NetworkConfig(pooling="attention", normalisation="utterance"),
    NetworkConfig("attention", "speech", filters=(16, 32, 64), hidden_size=32, bidirectional=True),
    NetworkConfig("attention", "utterance-mean", filters=(16, 32, 64), hidden_size=32, bidirectional=True),
    NetworkConfig(chunks=4),
    NetworkConfig("attention", "utterance-mean", filters=(16, 32, 64), hidden_size=32, bidirectional=True, chunks=6),
]


@pytest.fixture(
    scope="module", params=VARIANTS, ids=lambda config: f"{config.pooling}-{config.normalisation}-{config.chunks}"
)
def pair(request, tmp_path_factory) -> tuple[Student, Student]:
    """A student in PyTorch, and its ONNX file."""
    folder = tmp_path_factory.mktemp("student")
    attributes = ATTRIBUTES if request.param.bidirectional else {}
    student = Student.from_pretrained(write_student(folder, request.param, attributes=attributes))
    (folder / "student.onnx").write_bytes(student.export_onnx())
    return student, Student.from_pretrained(folder / "student.onnx")


NOISE = 0.5 * np.random.default_rng(0).standard_normal(40_000)
SOUNDS = [tone(1, duration_s, np.random.default_rng(0)) for duration_s in (0.1, 1.0, 3.0, 3.05, 8.0)]
SOUNDS.append(np.concatenate([np.zeros(40_000), NOISE]).astype(np.float32))


@pytest.mark.parametrize("waveform", SOUNDS, ids=len)
def test_it_says_what_pytorch_says(pair, waveform):
    """Of a recording as a whole, window by window, and in a stream."""
    for step_s in (0.1, 0.7):
        in_torch, in_onnx = (student.predict(waveform, 16_000, step_s) for student in pair)
        np.testing.assert_allclose(in_onnx.window_probabilities, in_torch.window_probabilities, atol=2e-4)
        np.testing.assert_allclose(in_onnx.probabilities, in_torch.probabilities, atol=2e-4)
        assert in_onnx.attributes == pytest.approx(in_torch.attributes, abs=2e-3)
        for name, values in in_torch.window_attributes.items():
            np.testing.assert_allclose(in_onnx.window_attributes[name], values, atol=2e-3)
    streams = [student.stream() for student in pair]
    of_torch, of_onnx = ([one.probabilities for one in stream.add(waveform) + stream.finish()] for stream in streams)
    np.testing.assert_allclose(of_onnx, of_torch, atol=2e-4)


@pytest.mark.parametrize("n_samples", [1, 700, 1_600, 47_999, 80_000])
def test_the_file_alone_takes_a_waveform_of_any_length(pair, n_samples):
    """As someone else's program uses it: onnxruntime, a waveform, nothing of ours."""
    student, exported = pair
    session = onnxruntime.InferenceSession(student.export_onnx(), providers=["CPUExecutionProvider"])
    waveform = tone(2, 5.0, np.random.default_rng(0)).astype(np.float32)[:n_samples] / 32768
    probabilities, logits = session.run(["probabilities", "window_logits"], {"waveform": waveform})
    assert probabilities.shape == (8,)
    names = student.card.attributes
    assert logits.shape == (1 + max(0, n_samples - 48_000) // 1600, 8 + len(names))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    if n_samples >= 1_600:
        expected = exported.predict(waveform, 16_000)
        np.testing.assert_allclose(expected.probabilities, probabilities, atol=2e-4)
        if names:
            (values,) = session.run(["attributes"], {"waveform": waveform})
            found = dict(zip(json.loads(metadata["attributes"]), values, strict=True))
            assert found == pytest.approx(expected.attributes, abs=2e-3)
    assert json.loads(metadata["labels"]) == list(EMOTIONS)


def test_real_speech_in_float32_and_in_8_bits(pair, test_data):
    """Speech of RAVDESS: the float file within 2e-4 of PyTorch, the small one close."""
    student, exported = pair
    files = sorted((test_data / "ravdess").glob("*/*"))[::97]
    speech = [read_waveform(str(file)).astype(np.float32) / 32768 for file in files]
    calibration, tested = speech[::2], speech[1::2]
    assert len(tested) > 5
    small = student.export_onnx(calibration)
    n_weights = student.card.content["parameters"]["inference"]
    assert len(student.export_onnx()) - len(small) > 2.5 * n_weights  # most take one byte in place of four
    onnx.checker.check_model(onnx.load_from_string(small))
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    assert {"QLinearConv", "DynamicQuantizeLSTM"} & {node.op_type for node in onnx.load_from_string(small).graph.node}
    for waveform in tested:
        expected = student.predict(waveform, 16_000).probabilities
        np.testing.assert_allclose(exported.predict(waveform, 16_000).probabilities, expected, atol=2e-4)
        found = session.run(["probabilities"], {"waveform": waveform})[0]
        np.testing.assert_allclose(found, expected, atol=0.15)


def test_a_file_holds_its_card_and_about_half_a_megabyte(pair):
    student, exported = pair
    assert len(student.export_onnx()) < 520_000
    assert exported.card.content["speakers"] == student.card.content["speakers"]
    assert "history" not in exported.card.content
    for kept in (lambda: exported.save_pretrained("nowhere"), exported.export_onnx):
        with pytest.raises(UserError, match="copy it as it is"):
            kept()


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match="no ONNX file that onnxruntime runs"):
        Student.from_pretrained(tmp_path / "a.onnx")
    other = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y) {y = Relu (x)}'
    )
    onnx.save(other, tmp_path / "b.onnx")
    with pytest.raises(UserError, match="is not of a student"):
        Student.from_pretrained(tmp_path / "b.onnx")
    onnx.helper.set_model_props(other, {CARD_KEY: "{}"})
    with pytest.raises(UserError, match="another version"):
        Student.from_onnx(other.SerializeToString(), "c.onnx")
