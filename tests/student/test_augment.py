import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.student.augment import SILENCE, add_babble, add_noise, mixup, narrow, pieces, spec_augment, speech_bounds


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


class TestSpecAugment:
    def test_hidden_stripes_have_the_mean_and_the_rest_is_untouched(self):
        log_mel = noise(20, 64, 94) - 6
        before = log_mel.clone()
        masked, again = (spec_augment(log_mel, np.random.default_rng(0), 1, 8, 1, 10) for _ in range(2))
        assert torch.equal(masked, again)  # by the seed
        assert torch.equal(log_mel, before)
        hidden = masked != log_mel
        mean = log_mel.mean(dim=(1, 2))
        for row in range(20):
            assert torch.all(masked[row][hidden[row]] == mean[row])
            bands, frames = hidden[row].all(dim=1), hidden[row].all(dim=0)
            assert torch.equal(hidden[row], bands[:, None] | frames[None, :])
            assert bands.sum() <= 8
            assert frames.sum() <= 10
            for mask in (bands, frames):  # one stripe, without a gap
                assert mask.int().diff().abs().sum() <= 2

    def test_every_width_and_both_edges_occur(self):
        masked = spec_augment(
            torch.arange(8 * 5.0).view(1, 8, 5).expand(2000, -1, -1), np.random.default_rng(0), 1, 3, 0, 0
        )
        hidden = (masked == 19.5).all(dim=2)
        shares = hidden.sum(dim=1).bincount() / 2000
        torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.04, rtol=0)
        assert hidden.any(dim=0).all()

    @pytest.mark.parametrize("sizes", [(0, 8, 0, 10), (2, 0, 2, 0)])
    def test_no_masks_and_no_width_change_nothing(self, sizes):
        log_mel = noise(3, 64, 94)
        assert torch.equal(spec_augment(log_mel, np.random.default_rng(0), *sizes), log_mel)


@given(st.integers(1, 12), st.floats(0.1, 5), st.integers(0, 99))
@settings(max_examples=40)
def test_mixup_mixes_labels_as_the_inputs(n, alpha, seed):
    """Inputs that hold their own label's softmax must come out equal to the mixed target."""
    truth = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, n))
    inputs = torch.nn.functional.one_hot(truth, 4).float()
    mixed, targets = mixup(inputs[:, :, None].repeat(1, 1, 3), truth, 4, alpha, np.random.default_rng(seed))
    torch.testing.assert_close(mixed, targets[:, :, None].repeat(1, 1, 3))
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(n))
    assert targets.min() >= 0


def test_mixup_mixes_recordings_of_one_set_alone():
    truth = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    mixed, targets = mixup(truth[:, None].float(), truth, 3, 1.0, np.random.default_rng(0), (3, 2, 4))
    assert torch.equal(targets, torch.nn.functional.one_hot(truth, 3).float())
    torch.testing.assert_close(mixed[:, 0], truth.float())


LENGTHS = st.integers(94, 400)


@given(st.lists(st.tuples(LENGTHS, st.integers(0, 93), st.integers(2, 60)), min_size=1, max_size=6), st.integers(0, 99))
def test_pieces_are_of_the_recording_in_order(recordings, seed):
    """Each place is one of the recording's or silence; what is not repeated runs on without gaps."""
    n_frames = np.array([n for n, _, _ in recordings])
    bounds = np.array([(first, min(n, first + length)) for n, first, length in recordings])
    places = np.random.default_rng(seed + 100).random(len(n_frames))
    found = pieces(n_frames, bounds, 0.7, places, np.random.default_rng(seed))
    assert found.shape == (len(recordings), 94)
    np.testing.assert_array_equal(found, pieces(n_frames, bounds, 0.7, places, np.random.default_rng(seed)))
    for row, n_here in zip(found, n_frames.tolist(), strict=True):
        heard = np.flatnonzero(row != SILENCE)
        assert len(heard) >= 1
        assert set(np.diff(heard)) <= {1}
        assert row[heard].min() >= 0
        assert row[heard].max() < n_here
        assert set(np.abs(np.diff(row[heard]))) <= {1}


def test_without_pieces_all_places_are_as_likely_and_all_is_heard():
    places = np.linspace(0, 0.9999, 7000)
    found = pieces(np.full(7000, 100), np.tile([40, 60], (7000, 1)), 0, places, np.random.default_rng(0))
    assert set(np.diff(found, axis=1).ravel()) == {1}
    np.testing.assert_allclose(np.bincount(found[:, 0], minlength=7), 1000, atol=2)


def test_pieces_lose_the_silence_around_the_speech():
    """Two seconds of silence, one of speech (31 frames), two of silence: at most 0.3 s more on each side."""
    rng = np.random.default_rng(0)
    found = pieces(np.full(500, 156), np.tile([62, 93], (500, 1)), 1, rng.random(500), rng)
    heard = found[found != SILENCE]
    assert heard.min() >= 62 - 10
    assert heard.max() < 93 + 10
    n_heard = [len(set(row) - {SILENCE}) for row in found]
    assert min(n_heard) == 16
    assert 46 <= max(n_heard) <= 49


def test_speech_is_what_lies_within_35_db_of_the_loudest():
    frames = np.full((300, 64), -10.0, np.float32)
    frames[120:140] = 0
    frames[140:150] = -8.0  # 34.7 dB below
    frames[220:260] = -5.0  # of the second recording
    bounds = speech_bounds(frames, np.array([200, 300]))
    assert bounds.tolist() == [[120, 150], [0, 100]]


def power(log_mel):
    return log_mel.exp().sum(dim=1).mean(dim=1)


@pytest.mark.numerics
def test_noise_is_up_to_45_db_below_and_of_all_colours():
    speech = noise(400, 64, 94)
    noisy = add_noise(speech, 0.5, np.random.default_rng(1))
    torch.testing.assert_close(noisy, add_noise(speech, 0.5, np.random.default_rng(1)), rtol=0, atol=0)
    changed = ((noisy - speech).abs() > 1e-5).any(dim=2).any(dim=1)
    assert 150 < changed.sum() < 250
    added = power(noisy)[changed] / power(speech)[changed] - 1
    snr_db = -10 * added.log10()
    assert snr_db.min() > -0.1
    assert snr_db.max() < 45.5
    assert 15 < snr_db.median() < 30
    more = (noisy.exp() - speech.exp())[changed].mean(dim=2).clamp(min=1e-9)
    low, high = more[:, 5:15].mean(dim=1), more[:, 50:60].mean(dim=1)
    assert (low > 10 * high).any()
    assert (high > 10 * low).any()


@pytest.mark.numerics
def test_babble_is_of_the_talkers_that_are_given():
    speech, asked = noise(60, 64, 94), []

    def talkers(n, rng):
        asked.append(n)
        others = torch.full((n, 64, 94), -20.0)
        others[:, 7] = 3.0
        return others

    noisy = add_babble(speech, 0.5, np.random.default_rng(0), talkers)
    more = noisy.exp() - speech.exp()
    changed = more[:, 7].amax(dim=1) > 1e-4
    assert asked == [4 * int(changed.sum())]
    assert 15 < changed.sum() < 45
    snr_db = -10 * (power(noisy)[changed] / power(speech)[changed] - 1).log10()
    assert snr_db.min() > -0.1
    assert snr_db.max() < 30.5
    assert more[:, :7].abs().max() < 1e-3
    assert torch.equal(add_babble(speech, 0, np.random.default_rng(0), talkers), speech)


def test_narrow_takes_the_ends_of_the_spectrum():
    speech = torch.zeros(300, 64, 94)
    found = narrow(speech, 0.5, np.random.default_rng(0))
    lost = -found[:, :, 0]
    assert 100 < (lost > 0).any(dim=1).sum() < 200
    assert lost[:, 15:40].max() == 0  # 500 Hz to 3 kHz
    assert lost[:, 0].max() > 4
    assert lost[:, -1].max() > 4
