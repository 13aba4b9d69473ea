"""A recording in pieces is the recording."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_students import write_student

from liser_ray.prediction.pieces import RunningStatistics, SlidingWindow, step_samples
from liser_ray.prediction.student import Student
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import NetworkConfig
from liser_ray.student.features import LogMel, recording_statistics
from liser_ray.student.front_end import SEGMENT_SAMPLES, frame_count


@given(
    st.integers(1, 300_000),
    st.lists(st.integers(1, 100_000), min_size=1, max_size=4),
    st.sampled_from([1, 3, 8, 30, 31, 45]),
    st.sampled_from([1, 2, 64]),
)
def test_windows_are_the_same_in_pieces_of_any_size(n_samples, lengths, strides, block_windows):
    waveform = np.arange(1, n_samples + 1, dtype=np.float32)
    step = strides * 1600
    windows = SlidingWindow(step, block_windows)
    blocks = [block for piece in pieces(waveform, [max(500, one) for one in lengths]) for block in windows.add(piece)]
    blocks += windows.finish()
    assert all(len(block) <= SEGMENT_SAMPLES + (block_windows - 1) * step for block in blocks[:-1])
    if n_samples < SEGMENT_SAMPLES:
        (only,) = blocks
        np.testing.assert_array_equal(only, waveform)
        return
    expected = np.lib.stride_tricks.sliding_window_view(waveform, SEGMENT_SAMPLES)[::step]
    found = [np.lib.stride_tricks.sliding_window_view(block, SEGMENT_SAMPLES)[::step] for block in blocks]
    np.testing.assert_array_equal(np.concatenate(found), expected)


def pieces(waveform: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """The waveform in pieces of these lengths, again and again."""
    ends = np.cumsum(np.resize(lengths, 1 + len(waveform) // min(lengths)))
    return np.split(waveform, ends[ends < len(waveform)])


@pytest.fixture(scope="module", params=["utterance", "speech"])
def students(request, tmp_path_factory) -> list[Student]:
    """A student that hears relative to the recording, in PyTorch and in ONNX."""
    folder = write_student(tmp_path_factory.mktemp("student"), NetworkConfig(normalisation=request.param))
    student = Student.from_pretrained(folder)
    return [student, Student.from_onnx(student.export_onnx(), "student.onnx")]


@settings(max_examples=20)
@given(st.integers(1_600, 250_000), st.integers(200, 60_000))
def test_statistics_of_pieces_are_those_of_the_recording(students, n_samples, length):
    """Noise whose loudness rises and falls; bands are normal numbers around -5, and float32 leaves 1e-5 of them."""
    loudness = 0.1 * (1 + np.sin(np.arange(n_samples) / 3000))
    waveform = (loudness * np.random.default_rng(0).standard_normal(n_samples)).astype(np.float32)
    kind = students[0].card.network.normalisation
    log_mel = LogMel(kind)
    whole = log_mel(log_mel.fit_length(torch.from_numpy(waveform))[None])
    expected = recording_statistics(whole, torch.tensor([frame_count(n_samples)]), kind)
    for student in students:
        running = RunningStatistics(student.backend)
        for number, piece in enumerate(pieces(waveform, [length])):
            running.add(piece)
            if number == 1:
                running.now()  # asking changes nothing
            assert running._held.nbytes < 4 * (2 * 48_000 + 4096 + length)
        weight, mean, std = running.now()
        np.testing.assert_allclose(weight, np.full(64, float(expected.weight)), rtol=1e-4)
        np.testing.assert_allclose(mean, expected.mean[0, :, 0], atol=1e-4)
        np.testing.assert_allclose(std, expected.std[0, :, 0], atol=1e-4)


@pytest.mark.parametrize("step_s", [0, -0.1, 0.05, 0.128, float("nan"), float("inf")])
def test_steps_are_multiples_of_the_papers(step_s):
    assert [step_samples(good_s) for good_s in (0.1, 0.3, 3)] == [1600, 4800, 48_000]
    with pytest.raises(UserError, match=r"multiple of 0\.1 s"):
        step_samples(step_s)
