"""The front end in NumPy beside the one in PyTorch."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.student import front_end
from liser_ray.student.features import LogMel, evaluation_windows, fit_length, recording_statistics
from liser_ray.student.front_end import RunningStatistics, SpectrogramStream, frame_count, window_count


def sound(n_samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness rises and falls."""
    rng = np.random.default_rng(seed)
    loudness = 0.1 * (1 + np.sin(np.arange(n_samples) / 3000))
    return (loudness * rng.standard_normal(n_samples)).astype(np.float32)


def test_the_filters_are_torchaudios():
    expected = torchaudio.functional.melscale_fbanks(1025, 0.0, 8000.0, 64, 16_000).numpy()
    # Its corners are float32 numbers of Hz: half a thousandth of one, where the narrowest band is 60 wide.
    np.testing.assert_allclose(front_end.mel_filters(), expected, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1_025, 16_000, 48_123])
def test_the_spectrogram_is_pytorchs(n_samples):
    waveform = sound(n_samples)
    expected = LogMel()(torch.from_numpy(waveform)[None])[0].numpy()
    np.testing.assert_allclose(front_end.log_mel(waveform), expected, atol=1e-4)


def pieces(waveform: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """The waveform in pieces of these lengths, again and again."""
    ends = np.cumsum(np.resize(lengths, 1 + len(waveform) // max(1, min(lengths))))
    return np.split(waveform, ends[ends < len(waveform)])


@given(st.integers(1_600, 70_000), st.lists(st.integers(1, 30_000), min_size=1, max_size=5))
def test_a_spectrogram_in_pieces_is_the_whole_one(n_samples, lengths):
    waveform = sound(n_samples)
    stream = SpectrogramStream()
    frames = [stream.add(piece) for piece in pieces(waveform, [max(200, length) for length in lengths])]
    found = np.concatenate([*frames, stream.last()], axis=1)
    padded = fit_length(torch.from_numpy(waveform)).numpy()
    np.testing.assert_allclose(found, front_end.log_mel(padded)[:, : frame_count(n_samples)], atol=1e-5)


@given(st.integers(1_600, 70_000), st.integers(200, 30_000))
def test_statistics_of_pieces_are_those_of_the_recording(n_samples, length):
    waveform = sound(n_samples)
    running = RunningStatistics()
    for piece in pieces(waveform, [length]):
        running.add(piece)
        running.statistics()  # asking changes nothing
    whole = LogMel()(fit_length(torch.from_numpy(waveform))[None])
    expected = recording_statistics(whole, torch.tensor([frame_count(n_samples)]))
    np.testing.assert_allclose(running.statistics()[0], expected.mean[0, :, 0], atol=1e-4)
    np.testing.assert_allclose(running.statistics()[1], expected.std[0, :, 0], atol=1e-4)


def test_no_sound_has_no_statistics():
    with pytest.raises(ValueError, match="No sound"):
        RunningStatistics().statistics()


@given(st.integers(1, 200_000))
def test_windows_are_counted_as_they_are_cut(n_samples):
    assert window_count(n_samples) == len(evaluation_windows(torch.zeros(n_samples)))
