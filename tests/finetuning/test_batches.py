import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.finetuning.task import crop, epoch_batches
from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.teachers.speech_inputs import RawSound


def rng(seed=0):
    return np.random.default_rng(seed)


def sound(n, seed=0, level=3000, offset=500):
    """Noise that is neither centred nor of unit variance."""
    return (rng(seed).normal(offset, level, n)).clip(-32768, 32767).astype(np.int16)


def padding(lengths, batches):
    """Share of the samples in these batches that are padding."""
    filled = sum(lengths[batch].max() * len(batch) for batch in batches)
    return 1 - lengths.sum() / filled


class TestEpochBatches:
    @given(st.lists(st.integers(1, 10**6), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 2**32 - 1))
    @settings(max_examples=100, deadline=None)
    def test_each_recording_comes_once_in_batches_of_like_size(self, lengths, batch_size, seed):
        batches = epoch_batches(np.array(lengths), batch_size, rng(seed))
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        sizes = [len(batch) for batch in batches]
        assert min(sizes) >= 1
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert len(batches) == -(-len(lengths) // batch_size)  # no more steps than needed

    def test_another_seed_and_another_epoch_mix_the_recordings_anew(self):
        lengths = rng(1).integers(1, 1000, 500)
        stream = rng(3)
        epochs = [epoch_batches(lengths, 16, used) for used in (stream, stream, rng(4))]
        together = [{frozenset(batch.tolist()) for batch in batches} for batches in epochs]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert len(together[a] & together[b]) < 3  # of 32

    def test_there_is_little_padding(self):
        lengths = (SAMPLE_RATE_HZ * rng(0).lognormal(1.0, 0.6, 4000)).astype(int)
        at_random = np.split(rng(1).permutation(4000), 250)
        assert padding(lengths, at_random) > 0.5
        assert padding(lengths, epoch_batches(lengths, 16, rng(2))) < 0.2

    def test_long_and_short_batches_are_mixed(self):
        lengths = rng(0).integers(1, 10**5, 4000)
        means = np.array([lengths[batch].mean() for batch in epoch_batches(lengths, 16, rng(1))])
        assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.2
        assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


class TestCrop:
    @given(st.integers(1, 4000), st.integers(160, 3200), st.integers(0, 2**32 - 1))
    @settings(max_examples=60, deadline=None)
    def test_a_piece_lies_within_the_recording(self, n_samples, n_cropped, seed):
        pcm = np.arange(n_samples, dtype=np.int16)  # each sample is its own position
        piece = crop(pcm, n_cropped, rng(seed))
        assert len(piece) == min(n_samples, n_cropped)
        np.testing.assert_array_equal(piece, np.arange(piece[0], piece[0] + len(piece)))
        assert piece.dtype == np.int16

    def test_every_part_is_heard_at_times_the_first_and_the_last_sample_too(self):
        pcm, stream = np.arange(1603, dtype=np.int16), rng()
        assert {int(crop(pcm, 1600, stream)[0]) for _ in range(200)} == {0, 1, 2, 3}


def collate(pieces, normalised):
    """Waveforms and mask."""
    inputs = RawSound(normalised).pieces(pieces)
    return inputs["input_values"].numpy(), inputs["attention_mask"].numpy()


class TestRawSound:
    def test_each_piece_is_normalised_and_zeros_follow(self):
        pieces = [sound(9000, 1), sound(12_000, 2, level=200, offset=-3000), sound(8000, 3, level=9000)]
        waveforms, mask = collate(pieces, normalised=True)
        assert (waveforms.shape, waveforms.dtype, mask.dtype) == ((3, 12_000), np.float32, np.int64)
        np.testing.assert_array_equal(mask, np.arange(12_000) < np.array([[9000], [12_000], [8000]]))
        for piece, waveform in zip(pieces, waveforms, strict=True):
            assert waveform[: len(piece)].mean() == pytest.approx(0, abs=1e-3)
            assert waveform[: len(piece)].var() == pytest.approx(1, abs=1e-2)
            assert not waveform[len(piece) :].any()

    def test_short_pieces_become_half_a_second(self):
        waveforms, mask = collate([sound(1600), sound(3200)], normalised=True)
        assert waveforms.shape == mask.shape == (2, SAMPLE_RATE_HZ // 2)
        # Filled up first and then normalised, as the labeling job does it.
        assert waveforms[0].var() == pytest.approx(1, abs=1e-2)
        assert np.ptp(waveforms[0, 1600:]) == 0
        assert mask.all()

    def test_what_is_not_normalised_keeps_its_loudness(self):
        piece = np.zeros(9000, np.int16)
        piece[:4] = 32767, -32768, 16384, -1
        waveforms, _ = collate([piece, sound(10_000)], normalised=False)
        np.testing.assert_allclose(waveforms[0, :4], [32767 / 32768, -1, 0.5, -1 / 32768], rtol=1e-6)
        assert not waveforms[0, 4:].any()

    def test_silence_stays_finite(self):
        waveforms, _ = collate([np.full(9000, 7, np.int16)], normalised=True)
        assert np.abs(waveforms).max() < 0.01
