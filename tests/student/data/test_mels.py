import numpy as np
import pytest
import torch

from liser_ray.student.data.mels import LogMels, SegmentCutter, at_speeds, compute_log_mels, padded_frames
from liser_ray.student.features import LogMel, pad_edges, segment_samples
from liser_ray.student.front_end import POWER_FLOOR, SEGMENT_FRAMES, frame_count

CPU = torch.device("cpu")
LENGTHS = (16_000, 47_999, 48_000, 48_511, 100_001, 160_000)


def recordings(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, 3000, n) * np.linspace(0.01, 1, n)).astype(np.int16) for n in lengths]


def mels_of(waveforms, normalisation="none"):
    max_frames = int(padded_frames(np.array([len(one) for one in waveforms])).sum())
    return compute_log_mels(iter(waveforms), max_frames, normalisation, CPU)


def whole(waveform):
    return LogMel()(LogMel().fit_length(torch.from_numpy(waveform / 32768).float())[None])[0]


class TestCompute:
    def test_recordings_lie_one_after_the_other_and_short_ones_have_3_s(self):
        waveforms = recordings()
        mels = mels_of(waveforms)
        assert len(mels) == len(LENGTHS)
        assert np.diff(mels.ends, prepend=0).tolist() == [max(94, frame_count(n)) for n in LENGTHS]
        assert len(mels.frames) == mels.ends[-1]
        assert mels.frames.dtype == np.float32
        for waveform, start, end in zip(waveforms, [0, *mels.ends], mels.ends, strict=False):
            torch.testing.assert_close(torch.from_numpy(mels.frames[start:end].T), whole(waveform))

    def test_short_recordings_end_in_silence_and_frames_that_nobody_needed_are_cut_off(self):
        mels = compute_log_mels(recordings((16_000,)), 500, "none", CPU)
        assert mels.frames.shape == (94, 64)
        np.testing.assert_allclose(mels.frames[35:], np.log(POWER_FLOOR), rtol=1e-6)
        assert mels.frames[:30].min() > np.log(POWER_FLOOR)

    def test_utterance_normalisation_is_over_the_sound_without_its_padding(self):
        mels = mels_of(recordings((16_000, 100_001)), "utterance")
        for start, n_frames in ((0, frame_count(16_000)), (94, frame_count(100_001))):
            heard = mels.frames[start : start + n_frames]
            np.testing.assert_allclose(heard.mean(axis=0), 0, atol=1e-3)
            np.testing.assert_allclose(heard.std(axis=0), 1, atol=1e-3)

    def test_corpus_normalisation_is_left_to_the_network(self):
        np.testing.assert_array_equal(mels_of(recordings(), "corpus").frames, mels_of(recordings(), "none").frames)


class TestSpeeds:
    def test_faster_is_shorter_and_higher_and_all_come_one_after_the_other(self):
        time_s = np.arange(48_001) / 16_000
        waveforms = [(8000 * np.sin(2 * np.pi * hz * time_s)).astype(np.int16) for hz in (300, 600)]
        heard = list(at_speeds(waveforms, (0.8, 1.0, 1.25)))
        assert [len(one) for one in heard] == [60_002] * 2 + [48_001] * 2 + [38_401] * 2
        assert heard[2] is waveforms[0]
        assert all(one.dtype == np.int16 for one in heard)
        for one, hz in zip(heard, (240, 480, 300, 600, 375, 750), strict=True):
            middle = one[4000:36_000].astype(float)  # two seconds
            assert np.abs(np.fft.rfft(middle)).argmax() / 2 == pytest.approx(hz, abs=0.5)

    def test_what_is_loud_does_not_turn_over(self):
        square = np.where(np.arange(48_000) // 40 % 2, 32_767, -32_768).astype(np.int16)
        (slower,) = at_speeds([square], (0.9,))
        places = np.arange(1000, 50_000, 1) * 0.9
        inside = (places % 40 > 12) & (places % 40 < 28)  # far from the edges of the square
        assert (np.sign(slower[1000:50_000][inside]) == np.sign(square[places.astype(int)][inside])).all()


class TestSegments:
    def test_cut_from_the_spectrogram_as_computed_from_the_samples(self):
        """The streamed way computes 94 frames only; both must be the same to a student."""
        waveforms = recordings()
        mels = mels_of(waveforms)
        mels.frames.setflags(write=False)  # as arrays are that processes share
        rows = np.array([5, 0, 1, 4, 5, 3, 2])
        firsts = mels.first_frames(rows, np.array([0.999, 0.5, 0.3, 0.4, 0.0, 0.99, 0.1]))
        segments = SegmentCutter(mels, CPU)(rows, firsts)
        assert segments.shape == (7, 64, SEGMENT_FRAMES)
        for segment, row, first in zip(segments, rows, firsts.tolist(), strict=True):
            padded = pad_edges(LogMel().fit_length(torch.from_numpy(waveforms[row] / 32768).float())[None])
            alone = LogMel().of_padded(segment_samples(padded, first))[0]
            torch.testing.assert_close(segment, alone, atol=1e-5, rtol=1e-5)

    def test_places_reach_from_the_first_segment_to_the_last(self):
        mels = LogMels(np.zeros((94 + 100 + 500, 64), np.float32), np.array([94, 194, 694]))
        rng = np.random.default_rng(0)
        for row, possible in ((0, 1), (1, 7), (2, 407)):
            firsts = mels.first_frames(np.full(20_000, row), rng.random(20_000))
            assert set(firsts) == set(range(possible))
            assert np.bincount(firsts).min() > 0.2 * 20_000 / possible


@pytest.mark.parametrize("n_samples", [1, 47_999, 48_000, 48_127, 48_128, 100_000])
def test_frame_counts_before_anything_is_computed(n_samples):
    waveform = np.ones(n_samples, np.int16)
    assert padded_frames(np.array([n_samples]))[0] == len(mels_of([waveform]).frames)
