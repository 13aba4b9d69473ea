import numpy as np
import pytest

from liser_ray.demo.people import EMOTIONS
from liser_ray.demo.voices import PROSODY, SAMPLE_RATE_HZ, Voice, random_voice, speak
from liser_ray.media.speech import speech_stretches


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_voice_activity_detector_takes_it_for_speech(emotion):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        utterance = speak(random_voice(rng), emotion, 4.0, rng)
        pcm = (utterance.waveform * 32767).astype(np.int16)
        assert np.diff(speech_stretches(pcm)).sum() > 0.6 * len(pcm)


def test_same_stream_same_utterance():
    voice = Voice(pitch_hz=120, formant_scale=1.0)
    one, other = (speak(voice, "happy", 1.0, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.waveform, other.waveform)
    np.testing.assert_array_equal(one.mouth, other.mouth)


def test_length_and_range():
    utterance = speak(Voice(120, 1.0), "angry", 1.3, np.random.default_rng(0))
    assert utterance.waveform.shape == (round(1.3 * SAMPLE_RATE_HZ),)
    assert utterance.waveform.dtype == np.float32
    assert np.abs(utterance.waveform).max() <= 1
    assert 0 <= utterance.mouth.min() <= utterance.mouth.max() <= 1
    assert len(utterance.mouth) == 130


def test_anger_is_louder_than_sadness():
    level = {
        emotion: np.std(speak(Voice(120, 1.0), emotion, 2.0, np.random.default_rng(1)).waveform)
        for emotion in ("angry", "sad")
    }
    assert level["angry"] > 2 * level["sad"]
    assert set(PROSODY) == set(EMOTIONS)
