import numpy as np
import pytest
import torch
from tones import LABELS, make_tones

from liser_ray.student.config import NetworkConfig
from liser_ray.student.features import LogMel, evaluation_windows, recording_statistics
from liser_ray.student.front_end import frame_count
from liser_ray.student.network import EmotionClassifier
from liser_ray.student.training import evaluation
from liser_ray.student.training.evaluation import EvaluationSet

CPU = torch.device("cpu")
SPEECH = make_tones("ab", takes=1, shortest_s=1.0, longest_s=5.0, seed=3)
SOME = np.array([4, 0, 3])


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return EmotionClassifier(len(LABELS)).eval()


def by_hand(classifier, index, normalised=False):
    """The mean of the logits of each window alone."""
    waveform = torch.from_numpy(SPEECH.waveform(index).astype(np.float32)) / 32768
    mel = LogMel()
    waveform, n_frames = mel.fit_length(waveform), torch.tensor([frame_count(len(waveform))])
    statistics = recording_statistics(mel(waveform[None]), n_frames, "utterance")
    logits = []
    with torch.inference_mode():
        for window in evaluation_windows(waveform):
            log_mel = mel(window[None])
            logits.append(classifier((log_mel - statistics.mean) / statistics.std if normalised else log_mel))
    return torch.cat(logits).mean(dim=0).numpy()


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("batch", [3, 64])
def test_a_recording_is_the_mean_of_its_windows(classifier, monkeypatch, batch, normalised):
    monkeypatch.setitem(evaluation._BATCH_WINDOWS, "cpu", batch)
    recordings = EvaluationSet(SPEECH, SOME, "utterance" if normalised else "none", CPU)
    found = recordings.logits(classifier)
    expected = np.stack([by_hand(classifier, index, normalised) for index in SOME])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(recordings.truth, SPEECH.label_index[SOME])
    np.testing.assert_allclose(recordings.logits(classifier), found)  # from what is held


@pytest.mark.parametrize("normalisation", ["none", "utterance-mean"])
def test_chunks_hear_what_they_cover_as_a_whole_and_the_windows_of_what_is_longer(normalisation):
    torch.manual_seed(0)
    classifier = EmotionClassifier(len(LABELS), NetworkConfig(chunks=4)).eval()  # of 4.1 s
    everybody = np.arange(len(SPEECH))
    lengths = np.array([frame_count(len(SPEECH.waveform(i))) for i in everybody])
    assert lengths.min() <= 128 < lengths.max()
    recordings = EvaluationSet(SPEECH, everybody, normalisation, CPU, chunks=4)
    assert ((recordings.n_windows == 1) == (lengths <= 128)).all()
    mel, found = LogMel(), recordings.logits(classifier)
    for index, (n_frames, logits) in enumerate(zip(lengths, found, strict=True)):
        waveform = mel.fit_length(torch.from_numpy(SPEECH.waveform(index).astype(np.float32)) / 32768)
        whole = mel(waveform[None])
        heard = whole if n_frames <= 128 else mel(evaluation_windows(waveform))
        statistics = recording_statistics(whole, torch.tensor([n_frames]), "utterance-mean")
        with torch.inference_mode():
            expected = classifier(heard - statistics.mean if normalisation != "none" else heard).mean(dim=0)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_too_many_windows_are_not_held_and_score_the_same(classifier, monkeypatch):
    held = EvaluationSet(SPEECH, SOME, "none", CPU).logits(classifier)
    monkeypatch.setattr(evaluation, "MAX_HELD_WINDOWS", 2)
    recordings = EvaluationSet(SPEECH, SOME, "none", CPU)
    for _ in range(2):
        np.testing.assert_array_equal(recordings.logits(classifier), held)
    assert recordings._held is None


def test_nobody_to_score_is_refused(classifier):
    with pytest.raises(ValueError, match="no recordings"):
        EvaluationSet(SPEECH, np.zeros(0, np.int64), "none", CPU).logits(classifier)
