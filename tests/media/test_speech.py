"""Speech share: the library's answer, without the library's torch."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import talking_heads
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.speech import FRAME_SAMPLES, speech_probabilities, speech_shares, speech_stretches, stretches_of


def voice(duration_s: float, seed: int = 0) -> np.ndarray:
    return (talking_heads.voice(duration_s, seed) * 32767).astype(np.int16)


def speech_fraction(pcm: np.ndarray) -> float:
    return float(speech_shares(speech_stretches(pcm), np.array([0]), max(1, len(pcm)))[0])


def test_silence_and_noise_are_no_speech():
    noise = np.random.default_rng(0).normal(0, 3000, 4 * SAMPLE_RATE_HZ).astype(np.int16)
    for pcm in (noise, *(np.zeros(n, np.int16) for n in (0, 1, 2 * SAMPLE_RATE_HZ))):
        assert speech_fraction(pcm) == 0.0


def test_share_is_that_of_the_voice():
    silence = np.zeros(2 * SAMPLE_RATE_HZ, np.int16)
    assert speech_fraction(np.concatenate([silence, voice(4), silence])) == pytest.approx(0.5, abs=0.06)


def test_same_answer_whatever_was_asked_before():
    pcm = voice(3)
    first = speech_probabilities(pcm)
    speech_fraction(voice(5, seed=1))
    np.testing.assert_array_equal(speech_probabilities(pcm), first)


def test_equals_the_library_on_real_recordings_and_on_what_is_longer_than_one_call(test_data):
    import silero_vad
    import torch

    model = silero_vad.load_silero_vad()
    paths = sorted((test_data / "ravdess/Actor_01").glob("*.flac"))[:6]
    recordings = [soundfile.read(path, dtype="int16")[0] for path in paths]
    for pcm in (*recordings, np.concatenate(recordings)):
        expected = silero_vad.get_speech_timestamps(torch.from_numpy(pcm.astype(np.float32) / 32768), model)
        share = sum(stretch["end"] - stretch["start"] for stretch in expected) / len(pcm)
        assert speech_fraction(pcm) == pytest.approx(share, abs=1e-6)
        assert speech_fraction(pcm) > 0.1
    assert len(speech_probabilities(pcm)) == -(-len(pcm) // FRAME_SAMPLES) > 512


@settings(max_examples=200, deadline=None)
@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), min_size=1, max_size=80),
    repeat=st.integers(1, 6),
    cut=st.integers(0, FRAME_SAMPLES - 1),
)
def test_stretches_by_the_rules_of_the_library(probabilities, repeat, cut):
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    probabilities = np.repeat(probabilities, repeat)
    n_samples = len(probabilities) * FRAME_SAMPLES - cut
    expected = get_speech_timestamps_from_probs(probabilities.tolist(), audio_length_samples=n_samples)
    assert stretches_of(probabilities, n_samples) == [(s["start"], s["end"]) for s in expected]


def test_torch_is_not_imported():
    code = (
        "import sys, numpy as np; from liser_ray.media.speech import speech_stretches; "
        "speech_stretches(np.zeros(16000, np.int16)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(
    edges=st.lists(st.integers(0, 200), max_size=8, unique=True).map(sorted),
    starts=st.lists(st.integers(0, 180), min_size=1, max_size=5),
    length=st.integers(1, 40),
)
def test_the_share_of_a_window_is_that_of_its_samples(edges, starts, length):
    stretches = np.array(edges[: len(edges) // 2 * 2], np.int32).reshape(-1, 2)
    is_speech = np.zeros(300, bool)
    for start, end in stretches:
        is_speech[start:end] = True
    expected = [is_speech[start : start + length].mean() for start in starts]
    np.testing.assert_allclose(speech_shares(stretches, np.array(starts), length), expected, atol=1e-6)
