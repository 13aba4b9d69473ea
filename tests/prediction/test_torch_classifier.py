import numpy as np
import pytest
import torch
from small_students import write_student
from tones import tone

from liser_ray.prediction import torch_classifier
from liser_ray.prediction.student import Student
from liser_ray.prediction.torch_classifier import window_log_mels
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import NetworkConfig
from liser_ray.student.features import LogMel
from liser_ray.student.front_end import SEGMENT_SAMPLES


@pytest.mark.parametrize("strides", [1, 2, 8, 9, 30])
@pytest.mark.parametrize("n_windows", [1, 2, 40])
def test_spectrograms_of_windows_together_are_those_of_each_alone(strides, n_windows):
    step = strides * 1600
    rng = np.random.default_rng(0)
    samples = torch.from_numpy(rng.standard_normal(SEGMENT_SAMPLES + (n_windows - 1) * step).astype(np.float32))
    log_mel = LogMel()
    alone = torch.cat([log_mel(window[None]) for window in samples.unfold(0, SEGMENT_SAMPLES, step)])
    torch.testing.assert_close(window_log_mels(samples, step, log_mel), alone, rtol=0, atol=2e-4)


def test_a_long_recordings_frames_are_computed_once(monkeypatch):
    computed = []
    original = torch_classifier._frames

    def counted(sound, log_mel):
        computed.append(sound[..., 0].numel())
        return original(sound, log_mel)

    monkeypatch.setattr(torch_classifier, "_frames", counted)
    n_windows = 200
    window_log_mels(torch.zeros(SEGMENT_SAMPLES + (n_windows - 1) * 1600), 1600, LogMel())
    assert sum(computed) < n_windows * 94 / 2.8  # 25 on the grid and 4 at the edges, of 94


@pytest.mark.parametrize("normalisation", ["none", "corpus", "utterance", "utterance-mean"])
def test_a_prediction_is_the_evaluations(tmp_path, normalisation):
    """The same numbers as `EvaluationSet`, which scores students in training."""
    from small_students import make_classifier
    from tones import make_tones

    from liser_ray.student.training.evaluation import EvaluationSet

    config = NetworkConfig(normalisation=normalisation, pooling="attention")
    speech = make_tones("ab", takes=1, shortest_s=1.0, longest_s=7.0, seed=3)
    recordings = EvaluationSet(speech, np.arange(len(speech)), normalisation, torch.device("cpu"))
    expected = torch.from_numpy(recordings.logits(make_classifier(config))).softmax(dim=1).numpy()
    student = Student.from_pretrained(write_student(tmp_path, config))
    found = [student.predict(speech.waveform(i), 16_000) for i in range(len(speech))]
    np.testing.assert_allclose([one.probabilities for one in found], expected, atol=1e-4)
    assert [len(one.window_probabilities) for one in found] == recordings.n_windows.tolist()


def test_weights_of_another_network_are_refused(tmp_path):
    write_student(tmp_path, NetworkConfig(pooling="attention"))
    folder = write_student(tmp_path / "b")
    (folder / "student.safetensors").write_bytes((tmp_path / "student.safetensors").read_bytes())
    with pytest.raises(UserError, match="do not fit its card"):
        Student.from_pretrained(folder)
    (folder / "student.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="do not fit its card"):
        Student.from_pretrained(folder)


def test_a_step_further_apart_skips_windows(tmp_path):
    student = Student.from_pretrained(write_student(tmp_path))
    waveform = tone(1, 6.0, np.random.default_rng(0))
    close, far = student.predict(waveform, 16_000), student.predict(waveform, 16_000, step_s=0.5)
    np.testing.assert_allclose(far.window_probabilities, close.window_probabilities[::5], atol=1e-5)
    np.testing.assert_allclose(far.window_start_s, np.arange(7) * 0.5)
