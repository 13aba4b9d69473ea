import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.runtime.errors import UserError
from liser_ray.student.chunks import CHUNK_FRAMES, chunk_frames, heard_whole, reach_frames
from liser_ray.student.config import NetworkConfig
from liser_ray.student.features import in_chunks
from liser_ray.student.front_end import SEGMENT_FRAMES, SEGMENT_SAMPLES, frame_count

LENGTHS = st.lists(st.integers(CHUNK_FRAMES, 3000), min_size=1, max_size=5)
CHUNKS = st.integers(3, 40)


def starts(n_frames, n_chunks):
    """Where each recording's chunks begin, int64 [n, N]."""
    return chunk_frames(np.array(n_frames), n_chunks)[:, ::CHUNK_FRAMES]


@given(LENGTHS, CHUNKS)
def test_every_recording_has_as_many_chunks_of_one_length(n_frames, n_chunks):
    frames = chunk_frames(np.array(n_frames), n_chunks)
    assert frames.shape == (len(n_frames), n_chunks * CHUNK_FRAMES)
    assert (np.diff(frames.reshape(len(n_frames), n_chunks, CHUNK_FRAMES)) == 1).all()


@given(LENGTHS, CHUNKS)
def test_they_cover_the_first_and_the_last_frame(n_frames, n_chunks):
    frames = chunk_frames(np.array(n_frames), n_chunks)
    np.testing.assert_array_equal(frames.min(axis=1), 0)
    np.testing.assert_array_equal(frames.max(axis=1), np.array(n_frames) - 1)


@given(LENGTHS, CHUNKS)
def test_steps_are_equal_within_a_frame(n_frames, n_chunks):
    steps = np.diff(starts(n_frames, n_chunks))
    assert (np.ptp(steps, axis=1) <= 1).all()
    assert (abs(steps.mean(axis=1) - (np.array(n_frames) - CHUNK_FRAMES) / (n_chunks - 1)) < 1e-9).all()


@given(CHUNKS, st.data())
def test_no_frame_is_unheard_in_what_they_reach_over(n_chunks, data):
    n_frames = data.draw(st.integers(CHUNK_FRAMES, reach_frames(n_chunks)))
    assert len(np.unique(chunk_frames(np.array([n_frames]), n_chunks))) == n_frames
    beyond = chunk_frames(np.array([reach_frames(n_chunks) + 1]), n_chunks)
    assert len(np.unique(beyond)) == reach_frames(n_chunks)  # one is not


@given(CHUNKS, st.integers(CHUNK_FRAMES, 300))
def test_what_is_laid_out_already_stays_as_it_is(n_chunks, n_frames):
    spectrogram = torch.arange(2 * 64 * n_frames).view(2, 64, n_frames).float()
    once = in_chunks(spectrogram, n_chunks)
    expected = spectrogram[:, :, torch.from_numpy(chunk_frames(np.array([n_frames]), n_chunks)[0])]
    assert torch.equal(once, expected)
    assert torch.equal(in_chunks(once, n_chunks), once)


def test_the_shortest_that_is_heard_has_no_gaps_and_what_is_longer_than_all_chunks_is_not_heard_whole():
    assert heard_whole(SEGMENT_SAMPLES, 3)
    assert len(np.unique(chunk_frames(np.array([SEGMENT_FRAMES]), 3))) == SEGMENT_FRAMES
    last = next(n for n in range(SEGMENT_SAMPLES, 200_000) if not heard_whole(n, 6)) - 1
    assert frame_count(last) == 6 * CHUNK_FRAMES
    assert not heard_whole(SEGMENT_SAMPLES, 0)
    assert reach_frames(0) == SEGMENT_FRAMES


@pytest.mark.parametrize("chunks", [1, 2, -1, 2000])
def test_numbers_of_chunks_without_sense_are_refused(chunks):
    with pytest.raises(UserError, match="as many as the longest recording has seconds"):
        NetworkConfig(chunks=chunks)
